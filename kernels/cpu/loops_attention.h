// Attention over one split of one sequence's context, for one kv head. Included by isa_*.cc inside their
// anonymous namespace.
//
// A row is a (query, head) pair; all rows of a call share the keys and values. For each tile of 64 tokens,
// and up to kAttendTileRows rows at a time: scores (lanes are tokens), softmax with running maximum, weighted
// sum (lanes are D). Scores are in log2 units: scale * log2(e) is folded into q. Masked tokens get weight
// exactly 0, so a tile in which a row sees nothing leaves that row's bits alone.
constexpr float kMasked = -1e30F;

template <CacheType kType>
struct Cache {
  static constexpr int kPacked = kType == CacheType::kF32 ? 1 : kType == CacheType::kI8 ? 4 : 2;
#ifdef SLUICE_DOT_BF16
  static constexpr bool kDot = kType == CacheType::kBF16;
#else
  static constexpr bool kDot = false;
#endif
  static inline void unpack(I raw, F (&out)[kPacked]) {
    if constexpr (kType == CacheType::kF32) {
      out[0] = i_as_f(raw);
    } else if constexpr (kType == CacheType::kBF16) {
      out[0] = i_as_f(i_shift_left<16>(raw));
      out[1] = i_as_f(i_and(raw, i_set(static_cast<int>(0xffff0000U))));
    } else if constexpr (kType == CacheType::kF16) {
      out[0] = half_low_to_f(raw);
      out[1] = half_low_to_f(i_shift_right<16>(raw));
    } else {
      out[0] = i_to_f(i_shift_right_signed<24>(i_shift_left<24>(raw)));
      out[1] = i_to_f(i_shift_right_signed<24>(i_shift_left<16>(raw)));
      out[2] = i_to_f(i_shift_right_signed<24>(i_shift_left<8>(raw)));
      out[3] = i_to_f(i_shift_right_signed<24>(raw));
    }
  }
};

// Where the 16-token strips of a tile lie.
struct TileStrips {
  int count;
  const std::byte* keys[4];    // the strip's first token in the first row of the page
  const std::byte* values[4];  // the page; with `token` the strip's place in it
  int token[4];
};

template <CacheType kType, int R, int S>
inline void tile_scores(const AttendArgs& a, const TileStrips& strips, int first_strip, const float* q,
                        int64_t q_stride, float* scores) {
  using C = Cache<kType>;
  F s[R][S];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < S; ++j) s[r][j] = f_zero();
  }
  const std::byte* keys[S];
#pragma GCC unroll 4
  for (int j = 0; j < S; ++j) keys[j] = strips.keys[first_strip + j];
  const int64_t step = static_cast<int64_t>(a.block_tokens) * 4;
  const int lanes = a.head_size / C::kPacked;
  for (int i = 0; i < lanes; ++i) {
    if constexpr (C::kDot) {
#ifdef SLUICE_DOT_BF16
      I k[S];
#pragma GCC unroll 4
      for (int j = 0; j < S; ++j) k[j] = i_load(keys[j] + i * step);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        int pair;
        __builtin_memcpy(&pair, q + r * q_stride + i, 4);
        const I values = i_set(pair);
#pragma GCC unroll 4
        for (int j = 0; j < S; ++j) s[r][j] = f_dot_bf16(s[r][j], k[j], values);
      }
#endif
    } else {
#pragma GCC unroll 4
      for (int j = 0; j < S; ++j) {
        F k[C::kPacked];
        C::unpack(i_load(keys[j] + i * step), k);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
          for (int e = 0; e < C::kPacked; ++e) {
            s[r][j] = f_fma(k[e], f_set(q[r * q_stride + i * C::kPacked + e]), s[r][j]);
          }
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < S; ++j) {
    if constexpr (kType == CacheType::kI8) {
      const std::byte* page = strips.keys[first_strip + j] - 4 * strips.token[first_strip + j];
      const F scale =
          f_load(reinterpret_cast<const float*>(page + static_cast<int64_t>(a.block_tokens) * a.head_size) +
                 strips.token[first_strip + j]);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) s[r][j] = f_mul(s[r][j], scale);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) f_store(scores + r * kTileTokens + 16 * (first_strip + j), s[r][j]);
  }
}

// Scores of one row become weights in place (bf16 pairs where the dot product wants them). Returns the factor
// that brings the row's earlier sums to the new maximum.
template <CacheType kType>
inline float tile_softmax(const TileStrips& strips, float* scores, int begin, int end, float& largest,
                          float& total) {
  const int strip_count = strips.count;
  F s[4];
  const bool whole = begin <= 0 && end >= 16 * strip_count;
  F most = f_set(kMasked);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    s[j] = f_set(kMasked);
    if (j < strip_count) {
      s[j] = f_load(scores + 16 * j);
      if (!whole) s[j] = f_select_range(16 * j, begin, end, s[j], f_set(kMasked));
    }
    most = f_max(most, s[j]);
  }
  const float old = largest;
  const float tile_largest = f_largest(most);
  largest = tile_largest > old ? tile_largest : old;
  const F top = f_set(largest);
  F sum = f_zero();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    if (j >= strip_count) continue;
    F p = f_exp2(f_sub(s[j], top));
    if (!whole) p = f_select_range(16 * j, begin, end, p, f_zero());
    sum = f_add(sum, p);
    if constexpr (kType == CacheType::kI8) {
      const auto* page_scales = reinterpret_cast<const float*>(strips.values[j]);
      p = f_mul(p, f_load(page_scales + strips.token[j]));
    }
    if constexpr (Cache<kType>::kDot) {
      i_store_halves(reinterpret_cast<uint16_t*>(scores) + 16 * j, f_to_bf16(p));
    } else {
      f_store(scores + 16 * j, p);
    }
  }
  float factor[16];
  f_store(factor, f_exp2(f_set(old - largest)));
  total = __builtin_fmaf(total, factor[0], f_sum(sum));
  return factor[0];
}

// sums[r][d..] = sums * factor[r] + weights . values, over V vectors of 16 d.
template <CacheType kType, int R, int V>
inline void tile_sums(const AttendArgs& a, const TileStrips& strips, const float* weights,
                      const float* factors, int d, float* sums) {
  using C = Cache<kType>;
  const int64_t left = a.head_size - d;
  F acc[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const F factor = f_set(factors[r]);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      acc[r][v] = f_mul(f_load_first(sums + r * a.partial_stride + d + 16 * v, left - 16 * v), factor);
    }
  }
  for (int j = 0; j < strips.count; ++j) {
    const std::byte* at = strips.values[j];
    if constexpr (kType == CacheType::kI8) at -= static_cast<int64_t>(a.block_tokens) * a.head_size;
    at += (static_cast<int64_t>(strips.token[j] / C::kPacked) * a.head_size + d) * 4;
    const int64_t step = static_cast<int64_t>(a.head_size) * 4;
    for (int t = 0; t < 16; t += C::kPacked, at += step) {
      if constexpr (C::kDot) {
#ifdef SLUICE_DOT_BF16
        I value[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) value[v] = i_load_first(at + 64 * v, left - 16 * v);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          int pair;
          __builtin_memcpy(&pair, reinterpret_cast<const uint16_t*>(weights + r * kTileTokens) + 16 * j + t,
                           4);
          const I w = i_set(pair);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) acc[r][v] = f_dot_bf16(acc[r][v], value[v], w);
        }
#endif
      } else {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          F value[C::kPacked];
          C::unpack(i_load_first(at + 64 * v, left - 16 * v), value);
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
            for (int e = 0; e < C::kPacked; ++e) {
              acc[r][v] = f_fma(value[e], f_set(weights[r * kTileTokens + 16 * j + t + e]), acc[r][v]);
            }
          }
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      f_store_first(sums + r * a.partial_stride + d + 16 * v, acc[r][v], left - 16 * v);
  }
}

template <CacheType kType, int R>
void attend_rows(const AttendArgs& a, const TileStrips& strips, int64_t tile, int64_t row, const float* q,
                 int64_t q_stride, float* scores) {
  // The rows' positions ascend: nothing to do when even the last one ends before this tile, or the first
  // starts after it.
  const int64_t first = a.first_position + (a.first_row + row) / a.group;
  const int64_t last = a.first_position + (a.first_row + row + R - 1) / a.group;
  if (last < tile || (a.window > 0 && first - a.window + 1 >= tile + kTileTokens)) return;
  int strip = 0;
  for (; strip + kScoreStrips <= strips.count; strip += kScoreStrips) {
    tile_scores<kType, R, kScoreStrips>(a, strips, strip, q, q_stride, scores);
  }
  if constexpr (kScoreStrips > 1) {
    for (; strip < strips.count; ++strip) tile_scores<kType, R, 1>(a, strips, strip, q, q_stride, scores);
  }
  float factors[R];
  for (int r = 0; r < R; ++r) {
    const int64_t position = a.first_position + (a.first_row + row + r) / a.group;
    const int64_t end = position + 1 - tile;
    const int64_t begin = a.window > 0 ? position - a.window + 1 - tile : 0;
    factors[r] =
        tile_softmax<kType>(strips, scores + r * kTileTokens, static_cast<int>(begin > 0 ? begin : 0),
                            static_cast<int>(end < 0    ? 0
                                             : end > 64 ? 64
                                                        : end),
                            a.largest[row + r], a.total[row + r]);
  }
  float* sums = a.partial + row * a.partial_stride;
  int d = 0;
  for (; d + 16 * kSumVectors <= a.head_size; d += 16 * kSumVectors) {
    tile_sums<kType, R, kSumVectors>(a, strips, scores, factors, d, sums);
  }
  for (; d < a.head_size; d += 16) tile_sums<kType, R, 1>(a, strips, scores, factors, d, sums);
}

template <CacheType kType, int R>
inline void attend_up_to(int rows, const AttendArgs& a, const TileStrips& strips, int64_t tile, int64_t row,
                         const float* q, int64_t q_stride, float* scores) {
  if constexpr (R >= 1) {
    if (rows == R) return attend_rows<kType, R>(a, strips, tile, row, q, q_stride, scores);
    return attend_up_to<kType, R - 1>(rows, a, strips, tile, row, q, q_stride, scores);
  }
}

template <CacheType kType>
void attend(const AttendArgs& a) {
  using C = Cache<kType>;
  const int64_t head_size = a.head_size;
  const int64_t q_stride = C::kDot ? (head_size + 1) / 2 : head_size;  // in floats; bf16 pairs fill one each
  float* const q = a.scratch;
  float* const scores = a.scratch + kAttendRows * (head_size + 16);
  const F scale = f_set(a.scale * kLog2E);
  for (int64_t row = 0; row < a.row_count; ++row) {
    const int64_t number = a.first_row + row;
    const float* from = a.q + number / a.group * a.q_stride + number % a.group * head_size;
    for (int64_t d = 0; d < head_size; d += 16) {
      const F x = f_mul(f_load_first(from + d, head_size - d), scale);
      if constexpr (C::kDot) {
        i_store_halves(reinterpret_cast<uint16_t*>(q + row * q_stride) + d,
                       f_to_bf16(x));  // overhang is overwritten
      } else {
        f_store_first(q + row * q_stride + d, x, head_size - d);
      }
    }
    for (int64_t d = 0; d < head_size; ++d) a.partial[row * a.partial_stride + d] = 0;
    a.largest[row] = kMasked;
    a.total[row] = 0;
  }
  const int64_t page_values = static_cast<int64_t>(a.block_tokens) * head_size;
  for (int64_t tile = a.split_begin; tile < a.split_end; tile += kTileTokens) {
    TileStrips strips;
    const int64_t left = a.split_end - tile;
    strips.count = left >= kTileTokens ? 4 : static_cast<int>((left + 15) / 16);
    for (int j = 0; j < strips.count; ++j) {
      const int64_t position = tile + 16 * j;
      const int64_t at = a.blocks[position / a.block_tokens] * a.block_bytes + a.page_offset;
      strips.token[j] = static_cast<int>(position % a.block_tokens);
      strips.keys[j] = a.keys + at + 4 * strips.token[j];
      strips.values[j] =
          a.values + at + (kType == CacheType::kI8 ? page_values : 0);  // int8: the page's scales
    }
    const int64_t tiles = (a.row_count + kAttendTileRows - 1) / kAttendTileRows;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t begin = a.row_count * t / tiles, end = a.row_count * (t + 1) / tiles;
      attend_up_to<kType, kAttendTileRows>(static_cast<int>(end - begin), a, strips, tile, begin,
                                           q + begin * q_stride, q_stride, scores);
    }
  }
}

void merge(float* into, float* into_largest, float* into_total, const float* from, float from_largest,
           float from_total, int head_size) {
  const float largest = *into_largest > from_largest ? *into_largest : from_largest;
  float factor[16];
  const F a = f_exp2(f_set(*into_largest - largest)), b = f_exp2(f_set(from_largest - largest));
  for (int d = 0; d < head_size; d += 16) {
    const int n = head_size - d;
    f_store_first(into + d, f_fma(f_load_first(from + d, n), b, f_mul(f_load_first(into + d, n), a)), n);
  }
  f_store(factor, f_fma(f_set(from_total), b, f_mul(f_set(*into_total), a)));
  *into_largest = largest;
  *into_total = factor[0];
}

void finish(const float* sums, float total, int head_size, float* out) {
  const F inverse = f_set(1.0F / total);
  for (int d = 0; d < head_size; d += 16) {
    f_store_first(out + d, f_mul(f_load_first(sums + d, head_size - d), inverse), head_size - d);
  }
}

// Neighbouring tokens of a page may be written by different threads: every store touches this token's bytes
// only.
template <CacheType kType>
void store_kv(const StoreKvArgs& a) {
  using C = Cache<kType>;
  constexpr int kP = C::kPacked;
  const int64_t key_step = static_cast<int64_t>(a.block_tokens);
  const int64_t value_row = static_cast<int64_t>(a.token / kP) * a.head_size;
  const int within = a.token % kP;
  if constexpr (kType == CacheType::kF32) {
    auto* keys = reinterpret_cast<float*>(a.key_page);
    auto* values = reinterpret_cast<float*>(a.value_page);
    for (int d = 0; d < a.head_size; ++d) keys[d * key_step + a.token] = a.key[d];
    for (int d = 0; d < a.head_size; ++d) values[value_row + d] = a.value[d];
  } else if constexpr (kType == CacheType::kI8) {
    int8_t bytes[16];
    for (int which = 0; which < 2; ++which) {
      const float* head = which == 0 ? a.key : a.value;
      std::byte* page = which == 0 ? a.key_page : a.value_page;
      F most = f_zero();
      for (int d = 0; d < a.head_size; d += 16)
        most = f_max(most, f_abs(f_load_first(head + d, a.head_size - d)));
      const float largest = f_largest(most);
      const F inverse = f_set(largest > 1e-35F ? 127.0F / largest : 0.0F);
      reinterpret_cast<float*>(page + static_cast<int64_t>(a.block_tokens) * a.head_size)[a.token] =
          largest / 127.0F;
      auto* to = reinterpret_cast<int8_t*>(page);
      for (int d = 0; d < a.head_size; d += 16) {
        i_store_bytes(bytes, f_to_i(f_mul(f_load_first(head + d, a.head_size - d), inverse)));
        for (int e = d; e < a.head_size && e < d + 16; ++e) {
          if (which == 0)
            to[(e / 4 * key_step + a.token) * 4 + e % 4] = bytes[e - d];
          else
            to[(value_row + e) * 4 + within] = bytes[e - d];
        }
      }
    }
  } else {
    uint16_t halves[16];
    auto* keys = reinterpret_cast<uint16_t*>(a.key_page);
    auto* values = reinterpret_cast<uint16_t*>(a.value_page);
    for (int d = 0; d < a.head_size; d += 16) {
      const int n = a.head_size - d < 16 ? a.head_size - d : 16;
      const F k = f_load_first(a.key + d, n), v = f_load_first(a.value + d, n);
      i_store_halves(halves, kType == CacheType::kBF16 ? f_to_bf16(k) : f_to_half(k));
      for (int e = 0; e < n; e += 2)
        __builtin_memcpy(keys + ((d + e) / 2 * key_step + a.token) * 2, halves + e, 4);
      i_store_halves(halves, kType == CacheType::kBF16 ? f_to_bf16(v) : f_to_half(v));
      for (int e = 0; e < n; ++e) values[(value_row + d + e) * 2 + within] = halves[e];
    }
  }
}
