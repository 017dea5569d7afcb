// Sixteen lanes for AVX2 with FMA and F16C: pairs of 256-bit registers behind the names of simd_avx512.h.
// Included by isa_*.cc only, inside their anonymous namespace.

struct F {
  __m256 a, b;
};
struct I {
  __m256i a, b;
};

inline F f_zero() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
inline F f_set(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
inline F f_load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline void f_store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
inline __m256i first_lanes(int64_t n, int base) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < 16 ? n : 16) - base),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F f_load_first(const float* p, int64_t n) {
  if (n >= 16) return f_load(p);
  return {_mm256_maskload_ps(p, first_lanes(n, 0)), _mm256_maskload_ps(p + 8, first_lanes(n, 8))};
}
inline void f_store_first(float* p, F x, int64_t n) {
  if (n >= 16) return f_store(p, x);
  _mm256_maskstore_ps(p, first_lanes(n, 0), x.a);
  _mm256_maskstore_ps(p + 8, first_lanes(n, 8), x.b);
}
inline F f_add(F x, F y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
inline F f_sub(F x, F y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
inline F f_mul(F x, F y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
inline F f_div(F x, F y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
inline F f_fma(F x, F y, F z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline F f_max(F x, F y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
inline F f_min(F x, F y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
inline F f_abs(F x) {
  const __m256 sign = _mm256_set1_ps(-0.0F);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline F f_round(F x) {
  return {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline __m256 select_range(__m256i index, int begin, int end, __m256 x, __m256 y) {
  const __m256i in = _mm256_and_si256(_mm256_cmpgt_epi32(index, _mm256_set1_epi32(begin - 1)),
                                      _mm256_cmpgt_epi32(_mm256_set1_epi32(end), index));
  return _mm256_blendv_ps(y, x, _mm256_castsi256_ps(in));
}
inline F f_select_range(int base, int begin, int end, F x, F y) {
  const __m256i index = _mm256_add_epi32(_mm256_set1_epi32(base), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  return {select_range(index, begin, end, x.a, y.a),
          select_range(_mm256_add_epi32(index, _mm256_set1_epi32(8)), begin, end, x.b, y.b)};
}
inline F f_swap_pairs(F x) {
  return {_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)};
}
inline float f_sum(F x) {
  const __m256 h = _mm256_add_ps(x.a, x.b);
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
inline float f_largest(F x) {
  const __m256 h = _mm256_max_ps(x.a, x.b);
  const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}
inline uint32_t f_equal_bits(F x, F y) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ))) |
         static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ))) << 8;
}
inline uint32_t f_at_least_bits(F x, F y) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ))) |
         static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ))) << 8;
}
inline __m256 scale2(__m256 x, __m256 n) {
  const __m256i e = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(x, _mm256_castsi256_ps(e));
}
inline F f_scale2(F x, F n) {
  return {scale2(x.a, n.a), scale2(x.b, n.b)};
}

inline I i_load(const void* p) {
  const auto* v = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
}
inline I i_load_first(const void* p, int64_t n) {
  if (n >= 16) return i_load(p);
  const auto* v = static_cast<const int*>(p);
  return {_mm256_maskload_epi32(v, first_lanes(n, 0)), _mm256_maskload_epi32(v + 8, first_lanes(n, 8))};
}
inline I i_set(int x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
inline I i_and(I x, I y) {
  return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}
inline I i_add(I x, I y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
template <int n>
inline I i_shift_left(I x) {
  return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
}
template <int n>
inline I i_shift_right(I x) {
  return {_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
}
template <int n>
inline I i_shift_right_signed(I x) {
  return {_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n)};
}
inline F i_to_f(I x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
inline F i_as_f(I x) {
  return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}
inline I f_as_i(F x) {
  return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
inline I f_to_i(F x) {
  return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
inline int i_sum(I x) {
  const __m256i h = _mm256_add_epi32(x.a, x.b);
  const __m128i q = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
  const __m128i d = _mm_add_epi32(q, _mm_unpackhi_epi64(q, q));
  return _mm_cvtsi128_si32(_mm_add_epi32(d, _mm_shuffle_epi32(d, 1)));
}
// The low 16 bits of each lane as 16 halves in order.
inline __m256i low_halves(I x) {
  const __m256i mask = _mm256_set1_epi32(0xffff);
  return _mm256_permute4x64_epi64(
      _mm256_packus_epi32(_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)), 0xd8);
}
inline void i_store_halves(uint16_t* p, I x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), low_halves(x));
}
inline void i_store_bytes(int8_t* p, I x) {
  const __m256i h = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1)));
}
inline F half_from(__m256i h) {
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(h)), _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1))};
}
inline F half_load(const void* p) {
  return half_from(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
// Sixteen pairs of E4M3, the first or second of each as floats of 1/256 of its size: an E4M3 number's bits,
// moved, are such an f16, small ones too.
template <bool kSecond>
inline F f8_load(const void* p) {
  const __m256i pairs = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  const __m256i sign = kSecond ? pairs : _mm256_slli_epi16(pairs, 8);
  const __m256i magnitude = kSecond ? _mm256_srli_epi16(pairs, 1) : _mm256_slli_epi16(pairs, 7);
  return half_from(_mm256_or_si256(_mm256_and_si256(sign, _mm256_set1_epi16(static_cast<short>(0x8000))),
                                   _mm256_and_si256(magnitude, _mm256_set1_epi16(0x3f80))));
}
inline F half_low_to_f(I x) {
  return half_from(low_halves(x));
}
inline I f_to_half(F x) {
  return {_mm256_cvtepu16_epi32(_mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)),
          _mm256_cvtepu16_epi32(_mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))};
}

#ifdef __AVXVNNI__
#define SLUICE_DOT_U8 1
inline I i_dot_u8(I c, I u, I s) {
  asm("%{vex%} vpdpbusd %2,%1,%0" : "+x"(c.a) : "x"(u.a), "x"(s.a));
  asm("%{vex%} vpdpbusd %2,%1,%0" : "+x"(c.b) : "x"(u.b), "x"(s.b));
  return c;
}
#else
inline I i_madd_u8(I u, I s) {
  return {_mm256_maddubs_epi16(u.a, s.a), _mm256_maddubs_epi16(u.b, s.b)};
}
inline I i_add16(I x, I y) {
  return {_mm256_add_epi16(x.a, y.a), _mm256_add_epi16(x.b, y.b)};
}
inline I i_fold16(I x, int by) {
  const __m256i m = _mm256_set1_epi16(static_cast<short>(by));
  return {_mm256_madd_epi16(x.a, m), _mm256_madd_epi16(x.b, m)};
}
#endif

constexpr int kRegisters = 16;
