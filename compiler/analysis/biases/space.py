"""Claims about places: locality, translation, weight sharing, context, hierarchy."""
