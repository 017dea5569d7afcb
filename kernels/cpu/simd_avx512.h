// Sixteen lanes for AVX-512. Included by isa_*.cc only, inside their anonymous namespace: no symbol leaves
// the file. simd_avx2.h offers the same names on pairs of 256-bit registers.

using F = __m512;  // 16 f32
// GCC 12 keeps a copy of an __m512i accumulator per view (eight long longs, sixteen ints) and spills a tile
// of them; as sixteen ints they stay in registers.
typedef int I __attribute__((vector_size(64)));

inline F f_zero() {
  return _mm512_setzero_ps();
}
inline F f_set(float x) {
  return _mm512_set1_ps(x);
}
inline F f_load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline void f_store(float* p, F x) {
  _mm512_storeu_ps(p, x);
}
inline __mmask16 first_lanes(int64_t n) {
  return n >= 16 ? 0xffff : static_cast<__mmask16>((1U << n) - 1);
}
inline F f_load_first(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
inline void f_store_first(float* p, F x, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), x);
}
inline F f_add(F a, F b) {
  return _mm512_add_ps(a, b);
}
inline F f_sub(F a, F b) {
  return _mm512_sub_ps(a, b);
}
inline F f_mul(F a, F b) {
  return _mm512_mul_ps(a, b);
}
inline F f_div(F a, F b) {
  return _mm512_div_ps(a, b);
}
inline F f_fma(F a, F b, F c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline F f_max(F a, F b) {
  return _mm512_max_ps(a, b);
}
inline F f_min(F a, F b) {
  return _mm512_min_ps(a, b);
}
inline F f_abs(F a) {
  return _mm512_abs_ps(a);
}
inline F f_round(F a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// Where lane index + base lies in [begin, end): a, else b.
inline F f_select_range(int base, int begin, int end, F a, F b) {
  const __m512i index = _mm512_add_epi32(
      _mm512_set1_epi32(base), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  const __mmask16 in = _mm512_cmpge_epi32_mask(index, _mm512_set1_epi32(begin)) &
                       _mm512_cmplt_epi32_mask(index, _mm512_set1_epi32(end));
  return _mm512_mask_blend_ps(in, b, a);
}
inline F f_swap_pairs(F a) {
  return _mm512_permute_ps(a, 0xb1);
}
inline float f_sum(F a) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
inline float f_largest(F a) {
  const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}
// Bit i tells of lane i.
inline uint32_t f_equal_bits(F a, F b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
inline uint32_t f_at_least_bits(F a, F b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}
// x * 2^n for whole n in [-127, 127]; n = -127 gives zero.
inline F f_scale2(F x, F n) {
  const __m512i e = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
  return _mm512_mul_ps(x, _mm512_castsi512_ps(e));
}

inline I i_load(const void* p) {
  return (I)_mm512_loadu_si512(p);
}
inline I i_load_first(const void* p, int64_t lanes) {
  return (I)_mm512_maskz_loadu_epi32(first_lanes(lanes), p);
}
inline I i_set(int x) {
  return (I)_mm512_set1_epi32(x);
}
inline I i_and(I a, I b) {
  return a & b;
}
inline I i_add(I a, I b) {
  return a + b;
}
template <int n>
inline I i_shift_left(I a) {
  return (I)_mm512_slli_epi32((__m512i)a, n);
}
template <int n>
inline I i_shift_right(I a) {
  return (I)_mm512_srli_epi32((__m512i)a, n);
}
template <int n>
inline I i_shift_right_signed(I a) {
  return (I)_mm512_srai_epi32((__m512i)a, n);
}
inline F i_to_f(I a) {
  return _mm512_cvtepi32_ps((__m512i)a);
}
inline F i_as_f(I a) {
  return _mm512_castsi512_ps((__m512i)a);
}
inline I f_as_i(F a) {
  return (I)_mm512_castps_si512(a);
}
inline I f_to_i(F a) {
  return (I)_mm512_cvtps_epi32(a);
}  // to nearest even
inline int i_sum(I a) {
  return _mm512_reduce_add_epi32((__m512i)a);
}
inline void i_store_bytes(int8_t* p, I a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8((__m512i)a));
}
inline void i_store_halves(uint16_t* p, I a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16((__m512i)a));
}
inline F half_load(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
// Sixteen pairs of E4M3, the first or second of each as floats of 1/256 of its size: an E4M3 number's bits,
// moved, are such an f16, small ones too.
template <bool kSecond>
inline F f8_load(const void* p) {
  const __m256i pairs = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  const __m256i sign = kSecond ? pairs : _mm256_slli_epi16(pairs, 8);
  const __m256i magnitude = kSecond ? _mm256_srli_epi16(pairs, 1) : _mm256_slli_epi16(pairs, 7);
  return _mm512_cvtph_ps(
      _mm256_or_si256(_mm256_and_si256(sign, _mm256_set1_epi16(static_cast<short>(0x8000))),
                      _mm256_and_si256(magnitude, _mm256_set1_epi16(0x3f80))));
}
inline F half_low_to_f(I a) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)a));
}  // low 16 bits of each lane
inline I f_to_half(F a) {
  return (I)_mm512_cvtepu16_epi32(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#ifdef __AVX512VNNI__
#define SLUICE_DOT_U8 1
// c += the four products of unsigned bytes u and signed bytes s in each lane.
inline I i_dot_u8(I c, I u, I s) {
  asm("vpdpbusd %2,%1,%0" : "+v"(c) : "v"(u), "v"(s));
  return c;
}
#else
inline I i_madd_u8(I u, I s) {
  return (I)_mm512_maddubs_epi16((__m512i)u, (__m512i)s);
}
inline I i_add16(I a, I b) {
  return (I)_mm512_add_epi16((__m512i)a, (__m512i)b);
}
// Adds the two 16-bit halves of each lane, times `by`.
inline I i_fold16(I a, int by) {
  return (I)_mm512_madd_epi16((__m512i)a, _mm512_set1_epi16(static_cast<short>(by)));
}
#endif

#ifdef __AVX512BF16__
#define SLUICE_DOT_BF16 1
inline F f_dot_bf16(F c, I a, I b) {
  return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}
#endif

constexpr int kRegisters = 32;
