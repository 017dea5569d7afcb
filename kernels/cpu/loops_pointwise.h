// Everything that goes value by value or row by row. Included by isa_*.cc inside their anonymous namespace.
// Explicit fused multiply-adds and the compiler flag -ffp-contract=off fix the order of every rounding.

// 2^x, relative error below 2e-7 (minimax-like Taylor of 2^f on [-1/2, 1/2] to the sixth power); exactly 1 at
// 0, exactly 0 below -126.5. Inputs above 127 are clamped.
inline F f_exp2(F x) {
  x = f_min(f_max(x, f_set(-127.0F)), f_set(127.0F));
  const F whole = f_round(x);
  const F f = f_sub(x, whole);
  F p = f_set(1.5403530e-4F);
  p = f_fma(p, f, f_set(1.3333558e-3F));
  p = f_fma(p, f, f_set(9.6181291e-3F));
  p = f_fma(p, f, f_set(5.5504109e-2F));
  p = f_fma(p, f, f_set(2.4022651e-1F));
  p = f_fma(p, f, f_set(6.9314718e-1F));
  p = f_fma(p, f, f_set(1.0F));
  return f_scale2(p, whole);
}
constexpr float kLog2E = 1.44269504088896340736F;

void rms_norm(const float* x, int64_t n, const float* scale, float eps, float* out) {
  F sum[4] = {f_zero(), f_zero(), f_zero(), f_zero()};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const F v = f_load(x + i + 16 * j);
      sum[j] = f_fma(v, v, sum[j]);
    }
  }
  for (; i < n; i += 16) {
    const F v = f_load_first(x + i, n - i);
    sum[0] = f_fma(v, v, sum[0]);
  }
  const float squares = f_sum(f_add(f_add(sum[0], sum[1]), f_add(sum[2], sum[3])));
  const F inverse = f_set(1.0F / __builtin_sqrtf(squares / static_cast<float>(n) + eps));
  for (i = 0; i < n; i += 16) {
    f_store_first(out + i, f_mul(f_mul(f_load_first(x + i, n - i), inverse), f_load_first(scale + i, n - i)),
                  n - i);
  }
}

void add(float* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    f_store_first(to + i, f_add(f_load_first(to + i, n - i), f_load_first(from + i, n - i)), n - i);
  }
}

inline F sigmoid_times(F x, F slope) {  // x / (1 + exp(-slope))
  return f_div(x, f_add(f_set(1.0F), f_exp2(f_mul(slope, f_set(-kLog2E)))));
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) {
    const F g = f_load_first(gate + i, n - i);
    f_store_first(out + i, f_mul(sigmoid_times(g, g), f_load_first(up + i, n - i)), n - i);
  }
}

// 0.5 g (1 + tanh(u)) = g * sigmoid(2 u), u = sqrt(2 / pi) (g + 0.044715 g^3):
// https://arxiv.org/abs/1606.08415
void gelu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) {
    const F g = f_load_first(gate + i, n - i);
    const F inner = f_mul(g, f_fma(f_mul(g, g), f_set(0.044715F), f_set(1.0F)));
    f_store_first(
        out + i,
        f_mul(sigmoid_times(g, f_mul(inner, f_set(1.5957691216057308F))), f_load_first(up + i, n - i)),
        n - i);
  }
}

// angles: [D/2] cosines, [D/2] sines. Pairs (i, i + D/2).
void rotate_half(float* x, int heads, int head_size, const float* angles) {
  const int half = head_size / 2;
  for (int h = 0; h < heads; ++h, x += head_size) {
    for (int i = 0; i < half; i += 16) {
      const int n = half - i;
      const F a = f_load_first(x + i, n), b = f_load_first(x + half + i, n);
      const F cosine = f_load_first(angles + i, n), sine = f_load_first(angles + half + i, n);
      f_store_first(x + i, f_sub(f_mul(a, cosine), f_mul(b, sine)), n);
      f_store_first(x + half + i, f_fma(b, cosine, f_mul(a, sine)), n);
    }
  }
}

// Pairs (2i, 2i + 1). The angles are spread once per token: each cosine twice; each sine twice, first
// negative.
void rotate_interleaved(float* x, int heads, int head_size, const float* angles) {
  constexpr int kLargest = 1024;
  float cosines[kLargest], sines[kLargest];
  const int half = head_size / 2;
  for (int i = 0; i < half; ++i) {
    cosines[2 * i] = cosines[2 * i + 1] = angles[i];
    sines[2 * i] = -angles[half + i];
    sines[2 * i + 1] = angles[half + i];
  }
  for (int h = 0; h < heads; ++h, x += head_size) {
    for (int i = 0; i < head_size; i += 16) {
      const int n = head_size - i;
      const F v = f_load_first(x + i, n);
      f_store_first(
          x + i, f_fma(v, f_load_first(cosines + i, n), f_mul(f_swap_pairs(v), f_load_first(sines + i, n))),
          n);
    }
  }
}

float largest_of(const float* x, int64_t n) {
  F m[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) m[j] = f_set(-__builtin_inff());
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) m[j] = f_max(f_load(x + i + 16 * j), m[j]);
  }
  float largest = f_largest(f_max(f_max(m[0], m[1]), f_max(m[2], m[3])));
  for (; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

int64_t argmax(const float* x, int64_t n) {
  const float best = largest_of(x, n);
  const F wanted = f_set(best);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const uint32_t equal = f_equal_bits(f_load(x + i), wanted);
    if (equal != 0) return i + __builtin_ctz(equal);
  }
  for (; i < n; ++i) {
    if (x[i] == best) return i;
  }
  return 0;
}

double exp_sum(const float* x, int64_t n, float largest, float inverse_temperature, float* out) {
  const F base = f_set(largest), slope = f_set(inverse_temperature * kLog2E);
  double total = 0;
  int64_t i = 0;
  while (i < n) {
    F sum = f_zero();
    const int64_t stop = n - i > 1024 ? i + 1024 : n;
    for (; i < stop; i += 16) {
      const int64_t left = n - i;
      const F p = f_exp2(f_mul(f_sub(f_load_first(x + i, left), base), slope));
      const F kept = left >= 16 ? p : f_select_range(0, 0, static_cast<int>(left), p, f_zero());
      sum = f_add(sum, kept);
      f_store_first(out + i, kept, left);
    }
    total += static_cast<double>(f_sum(sum));
  }
  return total;
}

int64_t collect_at_least(const float* x, int64_t n, float threshold, int32_t* out) {
  const F limit = f_set(threshold);
  int64_t count = 0, i = 0;
  for (; i + 16 <= n; i += 16) {
    for (uint32_t bits = f_at_least_bits(f_load(x + i), limit); bits != 0; bits &= bits - 1) {
      out[count++] = static_cast<int32_t>(i) + __builtin_ctz(bits);
    }
  }
  for (; i < n; ++i) {
    if (x[i] >= threshold) out[count++] = static_cast<int32_t>(i);
  }
  return count;
}
