"""The parts of the C source of a recurrence that are the same for all of them: vectors, functions, products, threads.

Vectors are those that GCC and Clang know as a type, as wide as the machine that compiles has them, so that one text
serves AVX-512, AVX2, SSE and NEON.
"""

from __future__ import annotations

from collections.abc import Iterator

ROWS = 14
"""The largest number of rows that one pass over packed weights serves, where there are 32 vector registers."""

AHEAD = 96
"""How many rows a product of inputs has at once: those of a step and, where these are fewer, of steps after it. So its
weights are read less often, and its results are in the second cache when their step comes."""

_TYPES = """\
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__) && !defined(PORTABLE)
#include <immintrin.h>
#define BYTES 64
#define ROWS @rows@
#elif defined(__AVX__) && !defined(PORTABLE)
#define BYTES 32
#define ROWS 6
#else
#define BYTES 16
#define ROWS 6
#endif
#define INLINE static inline __attribute__((always_inline))
#define NL ((int)(BYTES / sizeof(real)))
#define PANEL (2 * NL)
#define MANY(rows) ((rows) < @ahead@ ? @ahead@ : (rows))
#define PAD(n) (((n) + PANEL - 1) / PANEL * PANEL)
typedef real V __attribute__((vector_size(BYTES)));
typedef real VU __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));
typedef whole I __attribute__((vector_size(BYTES)));

INLINE V splat(real x) { return x - (V){0}; }
INLINE V load(const real *p, int len) {
  if (len == NL) return *(const VU *)p;
  V v = {0};
  memcpy(&v, p, (size_t)len * sizeof(real));
  return v;
}
INLINE void store(real *p, V v, int len) {
  if (len == NL) *(VU *)p = v;
  else memcpy(p, &v, (size_t)len * sizeof(real));
}
INLINE V choose(I mask, V yes, V no) { return (V)((mask & (I)yes) | (~mask & (I)no)); }
INLINE real sum_of(V v, int len) {
  real x = 0;
  for (int i = 0; i < len; ++i) x += v[i];
  return x;
}
INLINE V v_max(V a, V b) { return choose((a > b) | (a != a), a, b); }
INLINE V v_min(V a, V b) { return choose((a < b) | (a != a), a, b); }
INLINE V v_relu(V a) { return choose(a < 0, splat(0), a); }
INLINE V v_abs(V a) { return choose(a < 0, -a, a) + splat(0); }
INLINE V v_positive(V a) { return choose(a > 0, splat(1), splat(0)); }
INLINE V v_sign(V a) { return choose(a > 0, splat(1), choose(a < 0, splat(-1), choose(a == 0, splat(0), a))); }
INLINE V v_above(V a, V b) { return choose(a > b, splat(1), choose(a == b, splat((real)0.5), splat(0))); }
#define EACH(f) { V r; for (int i = 0; i < NL; ++i) r[i] = f(a[i]); return r; }
static real one_softplus(real a) { return a > 20 ? a : F(log1p)(F(exp)(a)); }
__attribute__((unused)) static V v_log(V a) EACH(F(log))
__attribute__((unused)) static V v_sqrt(V a) EACH(F(sqrt))
__attribute__((unused)) static V v_softplus(V a) EACH(one_softplus)
"""

# Of float, exp and so sigmoid by a polynomial on [-ln 2 / 2, ln 2 / 2], tanh by a fraction of polynomials. They are
# written so that few operations wait for one another. NaN passes through all of them: comparisons with it are false.
_FLOAT = """\
#if BYTES == 64
INLINE V inverse(V x) {  // one Newton step makes the 14 bits of the machine's guess a float's 24
  V y = (V)_mm512_rcp14_ps((__m512)x);
  return y * (2 - x * y);
}
INLINE V at_most(V x, real top) { return (V)_mm512_min_ps((__m512)splat(top), (__m512)x); }
INLINE V at_least(V x, real low) { return (V)_mm512_max_ps((__m512)splat(low), (__m512)x); }
#else
INLINE V inverse(V x) { return 1 / x; }
INLINE V at_most(V x, real top) { return choose(x > top, splat(top), x); }
INLINE V at_least(V x, real low) { return choose(x < low, splat(low), x); }
#endif
INLINE V exp_parts(V x, I *power) {  // exp(x) = (1 + result) * 2^power, power as bits to add to an exponent
  const V magic = splat(12582912.0f);
  V n = x * 1.44269504088896341f + magic;
  *power = (I)n << 23;
  n -= magic;
  V r = x - n * 0.693145751953125f;
  r -= n * 1.42860682030941723e-6f;
  const V s = r * r;
  const V p = (splat(P6) * r + P5) * s + (splat(P4) * r + P3);
  return (p * r + P2) * s + r;
}
INLINE V v_exp(V x) {
  I power;
  V q = exp_parts(at_least(at_most(x, 88.7228f), -87.3365f), &power);
  V y = (V)((I)(q + 1) + power);
  y = choose(x > 88.7228f, splat(INFINITY), y);
  return choose(x < -87.3365f, splat(0), y);
}
INLINE V v_sigmoid(V x) {
  I power;
  V q = exp_parts(at_least(at_most(-x, 87.0f), -87.0f), &power);
  return inverse(1 + (V)((I)(q + 1) + power));
}
INLINE V v_tanh(V x) {
  x = at_least(at_most(x, 9), -9);
  const V s = x * x, f = s * s;
  const V p = (f * T8 + (s * T6 + T4)) * f + (s * T2 + 1);
  const V q = (f * U8 + (s * U6 + U4)) * f + (s * U2 + 1);
  return at_least(at_most(x * p * inverse(q), 1), -1);
}
"""

_DOUBLE = """\
__attribute__((unused)) static V v_exp(V a) EACH(exp)
__attribute__((unused)) static V v_tanh(V a) EACH(tanh)
__attribute__((unused)) static V v_sigmoid(V a) { return 1 / (1 + v_exp(-a)); }
"""

# A group of rows times packed weights. Packed: panels of PANEL columns, in each row of a panel what one element of
# the left side is multiplied with. K is walked in pieces, so that the rows' part stays in the first cache.
_PRODUCT = """\
#define PIECE 256
INLINE void product_rows(const real *a, long lda, const real *w, long K, real *c, long ldc, long rows, int add) {
  const long count = (rows + ROWS - 1) / ROWS;
  for (long i = 0, done = 0; i < count; ++i) {
    const long r = (rows - done + count - i - 1) / (count - i);
    const real *from = a + done * lda;
    real *to = c + done * ldc;
    switch (r) {
      @cases@
    }
    done += r;
  }
}
#define PRODUCT(LDA) \\
  static void product##LDA(const real *a, const real *w, long K, long N, real *c, long rows, int add) { \\
    for (long k = 0; k < K; k += PIECE) \\
      for (long n = 0; n < N; n += PANEL) \\
        product_rows(a + k, LDA, w + n * K + k * PANEL, K - k < PIECE ? K - k : PIECE, c + n, PAD(N), rows, \\
                     add || k); \\
  }
"""

# A part [K, N] of a matrix into its panels, from a column on. `to`: the first row of the part; rows: of all parts.
_PACK = """\
INLINE void pack_part(const real *w, long down, long along, long K, long N, real *to, long rows, long column) {
  for (long n = 0, stop; n < N; n = stop) {
    const long at = (column + n) % PANEL;
    real *into = to + (column + n - at) * rows + at;
    stop = N - n < PANEL - at ? N : n + PANEL - at;
    for (long k = 0; k < K; ++k)
      for (long j = n; j < stop; ++j) into[k * PANEL + j - n] = w[k * down + j * along];
  }
}
void pack(const real *w, long down, long along, long K, long N, real *to, long rows, long column) {
  if (along == 1) pack_part(w, down, 1, K, N, to, rows, column);
  else pack_part(w, down, along, K, N, to, rows, column);
}
"""

# Numbers too small to be normal ones become zero while a walk runs, as on a GPU: gradients that vanish over time end up
# there, and a processor takes many times as long for them. Each thread has a setting of its own.
_THREADS = """\
#if defined(__SSE__)
INLINE void set_control(unsigned long bits) { __builtin_ia32_ldmxcsr((unsigned)bits); }
INLINE unsigned long flushing(void) {
  const unsigned long before = __builtin_ia32_stmxcsr();
  set_control(before | 0x8040);
  return before;
}
#elif defined(__aarch64__)
INLINE void set_control(unsigned long bits) { __asm__ volatile("msr fpcr, %0" : : "r"(bits) : "memory"); }
INLINE unsigned long flushing(void) {
  unsigned long before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before) : : "memory");
  set_control(before | 1ul << 24);
  return before;
}
#else
INLINE void set_control(unsigned long bits) { (void)bits; }
INLINE unsigned long flushing(void) { return 0; }
#endif
typedef void (*parallel_for)(void (*)(void *), void *, unsigned, unsigned);
typedef struct {
  void (*tile)(const void *, long, long, long, real *);
  const void *call;
  long next, rows, size;
  size_t scratch;
  int failed;
} crew;
static void *work(void *given) {
  crew *c = given;
  real *scratch = aligned_alloc(64, (c->scratch * sizeof(real) + 63) / 64 * 64 + 64);
  if (!scratch) { __atomic_store_n(&c->failed, 1, __ATOMIC_RELAXED); return 0; }
  const unsigned long before = flushing();
  for (;;) {
    const long i = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED), first = i * c->size;
    if (first >= c->rows) break;
    c->tile(c->call, first, c->rows - first < c->size ? c->rows : first + c->size, i, scratch);
  }
  set_control(before);
  free(scratch);
  return 0;
}
static void work_for(void *given) { work(given); }
static int run(crew *c, long threads, void *parallel) {
  const long tiles = (c->rows + c->size - 1) / c->size;
  if (threads > tiles) threads = tiles;
  if (threads > 64) threads = 64;
  if (threads <= 1) work(c);
  else if (parallel) ((parallel_for)parallel)(work_for, c, (unsigned)threads, 0);
  else {
    pthread_t others[64];
    long started = 0;
    while (started < threads - 1 && !pthread_create(&others[started], 0, work, c)) ++started;
    work(c);
    while (started) pthread_join(others[--started], 0);
  }
  return c->failed;
}
int panel(void) { return PANEL; }
"""


def common(double: bool) -> str:
    """What stands before the functions of a recurrence, for float or double."""
    head = ["#define real double", "#define whole int64_t", "#define F(name) name"]
    if not double:
        head = ["#define real float", "#define whole int32_t", "#define F(name) name##f", *_polynomial()]
    types = _TYPES.replace("@rows@", str(8 if double else ROWS))  # fewer of double: they compile in less time
    types = types.replace("@ahead@", str(AHEAD))
    return "\n".join([*head, types, _DOUBLE if double else _FLOAT, *_kernels(), _product(), _PACK, _THREADS])


def _polynomial() -> list[str]:
    # (exp(r) - 1 - r) / r², interpolated at the Chebyshev points of [-0.3466, 0.3466]
    values = [0.5, 0.16666577, 0.041666556, 0.0083632031, 0.0013926214]
    lines = [f"#define P{power} {value!r}f" for power, value in enumerate(values, 2)]
    # tanh(x) / x in x², of the smallest relative error on [-9, 9]: 2e-8
    above = [0.13381025195121765, 0.003495587967336178, 2.0609079001587816e-05, 1.335465871221686e-08]
    below = [0.4671434164047241, 0.025876982137560844, 0.00032856344478204846, 7.776557140459772e-07]
    for name, fraction in (("T", above), ("U", below)):
        lines += [f"#define {name}{2 * power} {value!r}f" for power, value in enumerate(fraction, 1)]
    return lines


def _product() -> str:
    cases = "\n      ".join(_case(rows) for rows in range(1, ROWS + 1))
    return _PRODUCT.replace("@cases@", cases)


def _case(rows: int) -> str:
    text = f"case {rows}: kernel_{rows}(from, lda, w, K, to, ldc, add); break;"
    return text if rows <= 6 else f"\n#if ROWS >= {rows}\n      {text}\n#endif"


def _kernels() -> Iterator[str]:
    for rows in range(1, ROWS + 1):
        text = "\n".join(_kernel(rows, {1: 4, 2: 2, 3: 2}.get(rows, 1)))
        yield text if rows <= 6 else f"#if ROWS >= {rows}\n{text}\n#endif"


def _kernel(rows: int, unrolled: int) -> Iterator[str]:
    """rows × PANEL results. Few rows keep several sums of each, as one waits for the last to be there."""
    sums = [(r, h, u) for u in range(unrolled) for r in range(rows) for h in (0, 1)]
    yield f"INLINE void kernel_{rows}(const real *a, long lda, const real *w, long K, real *c, long ldc, int add) {{"
    for r, h, u in sums:
        yield f"  V s{r}_{h}_{u} = {{0}};"
    yield "  if (add) {"
    for r in range(rows):
        yield from (f"    s{r}_{h}_0 = *(const VU *)(c + {r} * ldc + {h} * NL);" for h in (0, 1))
    yield "  }"
    yield "  long k = 0;"
    yield f"  for (; k + {unrolled} <= K; k += {unrolled}, w += {unrolled} * PANEL) {{"
    for u in range(unrolled):
        yield from _accumulate(rows, u, u)
    yield "  }"
    if unrolled > 1:
        yield "  for (; k < K; ++k, w += PANEL) {"
        yield from _accumulate(rows, 0, 0)
        yield "  }"
    for r in range(rows):
        for h in (0, 1):
            total = " + ".join(f"s{r}_{h}_{u}" for u in range(unrolled))
            yield f"  *(VU *)(c + {r} * ldc + {h} * NL) = {total};"
    yield "}"


def _accumulate(rows: int, at: int, part: int) -> Iterator[str]:
    """One row of a panel. What comes 16 rows later is asked for now: it may be far away."""
    yield from (f"    __builtin_prefetch(w + {at + 16} * PANEL{half});" for half in ("", " + NL"))
    yield f"    {{ const V x = *(const VU *)(w + {at} * PANEL), y = *(const VU *)(w + {at} * PANEL + NL);"
    for r in range(rows):
        yield f"      {{ const V v = splat(a[{r} * lda + k + {at}]);"
        yield f"        s{r}_0_{part} += v * x; s{r}_1_{part} += v * y; }}"
    yield "    }"
