// Rows of activations times packed panels. Included by isa_*.cc inside their anonymous namespace.
//
// out[r][c] = sum over runs of  scale_w[c] * scale_x[r] * dot(w, x)  (+ minimum[c] * scaled_sum[r])  +
// bias[c] The dot of a run is exact in int32; the sum over runs is one chain of fused multiply-adds per
// output, in ascending order, the same for every tile shape: a row's result does not depend on the rows
// beside it. A tile is R rows by P panels. Rows stream from L2, panels stay in L1 while all rows pass.

#ifdef SLUICE_DOT_U8
struct Dot {  // one run of one row and panel
  I sum;
};
template <bool kNibble>
inline void dot_step(Dot& d, I w, I x) {
  d.sum = i_dot_u8(d.sum, w, x);
}
template <bool kNibble>
inline I dot_total(const Dot& d, I) {
  return d.sum;
}
inline Dot dot_start(I start) {
  return {start};
}
#else
// Without VNNI: products of unsigned nibbles and int8 are summed in int16 (8 steps of at most 2 * 15 * 127
// stay below 2^15); bytes are cut into nibbles, whose sums are weighted 1 and 16 at the end.
struct Dot {
  I low, high;
};
template <bool kNibble>
inline void dot_step(Dot& d, I w, I x) {
  const I mask = i_set(0x0f0f0f0f);
  if constexpr (kNibble) {
    d.low = i_add16(d.low, i_madd_u8(w, x));
  } else {
    d.low = i_add16(d.low, i_madd_u8(i_and(w, mask), x));
    d.high = i_add16(d.high, i_madd_u8(i_and(i_shift_right<4>(w), mask), x));
  }
}
template <bool kNibble>
inline I dot_total(const Dot& d, I start) {
  I total = i_add(start, i_fold16(d.low, 1));
  if constexpr (!kNibble) total = i_add(total, i_fold16(d.high, 16));
  return total;
}
inline Dot dot_start(I) {
  return {i_set(0), i_set(0)};
}
#endif

// What a tile brings near of the panels that come next, while it computes.
struct Ahead {
  const uint8_t* at;
  int lines_per_group;
};

template <bool kNibble, bool kMin, int kRun>
struct QuantPanel {
  static constexpr int kRuns = kGroupInputs / kRun;
  static constexpr int kValueBytes = kNibble ? 256 : 512;
  static constexpr int kGroupBytes = kValueBytes + kRuns * 32 * (kMin ? 2 : 1);

  static inline I start(const ActivationRun& run) {
    if constexpr (kMin) return i_set(0);
    return i_set(kNibble ? run.minus_8_sum : run.minus_128_sum);
  }

  template <int R, int P>
  static inline void tile(const MatmulArgs& a, const uint8_t* panel, int64_t first_row, int64_t first_column,
                          Ahead ahead) {
    const I mask = i_set(0x0f0f0f0f);
    const auto* x = static_cast<const int8_t*>(a.x) + first_row * a.x_stride;
    const ActivationRun* runs = a.runs + first_row * a.run_stride;
    F sum[R][P];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sum[r][p] = f_zero();
    }
    const int64_t groups = a.inputs / kGroupInputs;
    for (int64_t g = 0; g < groups; ++g, panel += kGroupBytes, x += kGroupInputs, runs += kRuns) {
      for (int line = 0; line < ahead.lines_per_group; ++line, ahead.at += 64) __builtin_prefetch(ahead.at);
      Dot dot[R][P];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const int run = kRun == 16 ? half : 0;
        if (half == 0 || kRun == 16) {
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) {
            const I begin = start(runs[r * a.run_stride + run]);
#pragma GCC unroll 8
            for (int p = 0; p < P; ++p) dot[r][p] = dot_start(begin);
          }
        }
#pragma GCC unroll 4
        for (int z = 0; z < 4; ++z) {
          I w[P];
#pragma GCC unroll 8
          for (int p = 0; p < P; ++p) {
            const uint8_t* at = panel + p * a.panel_bytes;
            if constexpr (kNibble) {
              const I both = i_load(at + 64 * z);
              w[p] = i_and(half == 0 ? both : i_shift_right<4>(both), mask);
            } else {
              w[p] = i_load(at + 64 * (4 * half + z));
            }
          }
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) {
            int four;
            __builtin_memcpy(&four, x + r * a.x_stride + 16 * half + 4 * z, 4);
            const I values = i_set(four);
#pragma GCC unroll 8
            for (int p = 0; p < P; ++p) dot_step<kNibble>(dot[r][p], w[p], values);
          }
        }
        if (half == 1 || kRun == 16) {
#pragma GCC unroll 8
          for (int p = 0; p < P; ++p) {
            const uint8_t* at = panel + p * a.panel_bytes + kValueBytes;
            const F scale = half_load(at + 32 * run);
            F minimum = f_zero();
            if constexpr (kMin) minimum = half_load(at + 32 * (kRuns + run));
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
              const ActivationRun& row = runs[r * a.run_stride + run];
              const F total = i_to_f(dot_total<kNibble>(dot[r][p], start(row)));
              sum[r][p] = f_fma(total, f_mul(scale, f_set(row.scale)), sum[r][p]);
              if constexpr (kMin) sum[r][p] = f_fma(minimum, f_set(row.scaled_sum), sum[r][p]);
            }
          }
        }
      }
    }
    store<R, P>(a, sum, first_row, first_column);
  }

  template <int R, int P>
  static inline void store(const MatmulArgs& a, const F (&sum)[R][P], int64_t first_row,
                           int64_t first_column) {
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      const int64_t column = first_column + p * kPanelColumns, left = a.columns - column;
      const F bias = a.bias != nullptr ? f_load_first(a.bias + column, left) : f_zero();
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F value = a.bias != nullptr ? f_add(sum[r][p], bias) : sum[r][p];
        f_store_first(a.out + (first_row + r) * a.out_stride + column, value, left);
      }
    }
  }
  static constexpr int kTileRows = kQuantTileRows, kTilePanels = kQuantTilePanels;
};

// Panels of floats: one input after another, bf16 in pairs.
template <PanelFormat kFormat>
struct DensePanel {
  static constexpr bool kPairs = kFormat == PanelFormat::kBF16;
#ifdef SLUICE_DOT_BF16
  static constexpr bool kDot = kPairs;
#else
  static constexpr bool kDot = false;
#endif
  static constexpr int kStep = kPairs ? 2 : 1;                               // inputs
  static constexpr int kStepBytes = kFormat == PanelFormat::kF16 ? 32 : 64;  // of a panel

  template <int R, int P>
  static inline void tile(const MatmulArgs& a, const uint8_t* panel, int64_t first_row, int64_t first_column,
                          Ahead) {
    const auto* x = static_cast<const uint8_t*>(a.x) + first_row * a.x_stride;
    F sum[R][P];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sum[r][p] = f_zero();
    }
    for (int64_t k = 0; k < a.inputs; k += kStep, panel += kStepBytes) {
#ifdef SLUICE_DOT_BF16
      if constexpr (kDot) {
        I w[P];
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) w[p] = i_load(panel + p * a.panel_bytes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          int pair;
          __builtin_memcpy(&pair, x + r * a.x_stride + 2 * k, 4);
          const I values = i_set(pair);
#pragma GCC unroll 8
          for (int p = 0; p < P; ++p) sum[r][p] = f_dot_bf16(sum[r][p], w[p], values);
        }
        continue;
      }
#endif
#pragma GCC unroll 2
      for (int of = 0; of < kStep; ++of) {
        if (of > 0 && k + of >= a.inputs) break;  // a last pair of one
        F w[P];
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) {
          const uint8_t* at = panel + p * a.panel_bytes;
          if constexpr (kFormat == PanelFormat::kF32) {
            w[p] = i_as_f(i_load(at));
          } else if constexpr (kFormat == PanelFormat::kF16) {
            w[p] = half_load(at);
          } else {
            const I both = i_load(at);
            w[p] =
                i_as_f(of == 0 ? i_shift_left<16>(both) : i_and(both, i_set(static_cast<int>(0xffff0000U))));
          }
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          float value;
          __builtin_memcpy(&value, x + r * a.x_stride + 4 * (k + of), 4);
          const F values = f_set(value);
#pragma GCC unroll 8
          for (int p = 0; p < P; ++p) sum[r][p] = f_fma(w[p], values, sum[r][p]);
        }
      }
    }
    QuantPanel<true, true, 32>::template store<R, P>(a, sum, first_row, first_column);
  }
  static constexpr int kTileRows = kDenseTileRows, kTilePanels = kDenseTilePanels;
};

// Panels of E4M3 with a scale for each 128 inputs, decoded as they pass.
struct F8Panel {
  template <bool kSecond, int R, int P>
  static inline void input(const MatmulArgs& a, const uint8_t* panel, const uint8_t* x, const F (&scale)[P],
                           F (&sum)[R][P]) {
    F w[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) w[p] = f_mul(f8_load<kSecond>(panel + p * a.panel_bytes), scale[p]);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      float value;
      __builtin_memcpy(&value, x + r * a.x_stride + (kSecond ? 4 : 0), 4);
      const F values = f_set(value);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sum[r][p] = f_fma(w[p], values, sum[r][p]);
    }
  }

  template <int R, int P>
  static inline void tile(const MatmulArgs& a, const uint8_t* panel, int64_t first_row, int64_t first_column,
                          Ahead) {
    const auto* x = static_cast<const uint8_t*>(a.x) + first_row * a.x_stride;
    F sum[R][P];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sum[r][p] = f_zero();
    }
    for (int64_t group = 0; group < a.inputs; group += kF8ScaleInputs) {
      F scale[P];
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) scale[p] = i_as_f(i_load(panel + p * a.panel_bytes));
      panel += 64;
      const int64_t end = group + kF8ScaleInputs < a.inputs ? group + kF8ScaleInputs : a.inputs;
#pragma GCC unroll 4
      for (int64_t k = group; k < end; k += 2, panel += 32, x += 8) {
        input<false, R, P>(a, panel, x, scale, sum);
        input<true, R, P>(a, panel, x, scale, sum);
      }
    }
    QuantPanel<true, true, 32>::template store<R, P>(a, sum, first_row, first_column);
  }
  // Wide, so that one row's chains of sums do not wait for each other.
  static constexpr int kTileRows = kRegisters == 32 ? 5 : 2, kTilePanels = kRegisters == 32 ? 4 : 2;
};

template <class Panel, int R, int P>
inline void rows_of(int rows, const MatmulArgs& a, const uint8_t* panel, int64_t row, int64_t column,
                    Ahead ahead) {
  if constexpr (R >= 1) {
    if (rows == R) return Panel::template tile<R, P>(a, panel, row, column, ahead);
    return rows_of<Panel, R - 1, P>(rows, a, panel, row, column, ahead);
  }
}

// All rows over P panels, cut into tiles of nearly equal height (8 rows are 4 + 4, not 6 + 2). Each tile
// fetches its share of the next panels: with few rows the product waits for memory otherwise.
template <class Panel, int P>
void column_of_tiles(const MatmulArgs& a, const uint8_t* panel, int64_t column) {
  const int64_t tiles = (a.rows + Panel::kTileRows - 1) / Panel::kTileRows;
  const int64_t bytes = P * a.panel_bytes, groups = (a.inputs + kGroupInputs - 1) / kGroupInputs;
  const int64_t lines_per_group = (bytes / 64 + tiles * groups - 1) / (tiles * groups),
                share = lines_per_group * groups * 64;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = a.rows * t / tiles, end = a.rows * (t + 1) / tiles;
    const Ahead ahead{panel + bytes + t * share, t * share < bytes ? static_cast<int>(lines_per_group) : 0};
    rows_of<Panel, Panel::kTileRows, P>(static_cast<int>(end - begin), a, panel, begin, column, ahead);
  }
}

template <class Panel>
void matmul_panels(const MatmulArgs& a) {
  int p = 0;
  for (; p + Panel::kTilePanels <= a.panel_count; p += Panel::kTilePanels) {
    column_of_tiles<Panel, Panel::kTilePanels>(a, a.panels + p * a.panel_bytes,
                                               static_cast<int64_t>(p) * kPanelColumns);
  }
  if constexpr (Panel::kTilePanels > 1) {
    for (; p < a.panel_count; ++p) {
      column_of_tiles<Panel, 1>(a, a.panels + p * a.panel_bytes, static_cast<int64_t>(p) * kPanelColumns);
    }
  }
}

// One row to int8: the largest magnitude of each group of 32 becomes 127.
void quantize_row(const float* x, int64_t inputs, int8_t* values, ActivationRun* runs32,
                  ActivationRun* runs16) {
  for (int64_t i = 0; i < inputs; i += kGroupInputs) {
    const F a = f_load_first(x + i, inputs - i);
    const F b = inputs - i > 16 ? f_load_first(x + i + 16, inputs - i - 16) : f_zero();
    const float largest = f_largest(f_max(f_abs(a), f_abs(b)));
    const float scale = largest / 127.0F;
    // A group of subnormals would overflow the reciprocal: it is zero for all that an int8 can say.
    const F inverse = f_set(largest > 1e-35F ? 127.0F / largest : 0.0F);
    const I qa = f_to_i(f_mul(a, inverse)), qb = f_to_i(f_mul(b, inverse));
    i_store_bytes(values + i, qa);
    i_store_bytes(values + i + 16, qb);
    const int sum_a = i_sum(qa), sum_b = i_sum(qb), sum = sum_a + sum_b;
    runs32[i / 32] = {scale, scale * static_cast<float>(sum), -8 * sum, -128 * sum};
    if (runs16 != nullptr) {
      runs16[i / 16] = {scale, scale * static_cast<float>(sum_a), -8 * sum_a, -128 * sum_a};
      runs16[i / 16 + 1] = {scale, scale * static_cast<float>(sum_b), -8 * sum_b, -128 * sum_b};
    }
  }
}

inline I f_to_bf16(F x) {  // to nearest even, in the low half of each lane
  const I bits = f_as_i(x);
  const I odd = i_and(i_shift_right<16>(bits), i_set(1));
  return i_shift_right<16>(i_add(bits, i_add(odd, i_set(0x7fff))));
}

void round_row(const float* x, int64_t inputs, uint16_t* out) {
  int64_t i = 0;
  for (; i + 16 <= inputs; i += 16) i_store_halves(out + i, f_to_bf16(f_load(x + i)));
  if (i < inputs) {
    uint16_t last[16];
    i_store_halves(last, f_to_bf16(f_load_first(x + i, inputs - i)));
    for (int64_t j = 0; i + j < inputs + inputs % 2; ++j) out[i + j] = last[j];
  }
}
