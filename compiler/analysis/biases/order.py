"""Claims about the order of an axis' positions: causality, permutations, recurrences."""
