// Compiled once for each instruction set, with -DHSWISH_LEVEL=name and the compiler's flags for it: on maps of
// floats, or on maps of halves where the instruction set multiplies these.
#include "kernels.h"

#include "block.h"
#include "pointwise.h"
#include "resize.h"
#include "stem.h"

namespace hswish {
namespace HSWISH_LEVEL {

// Calls with the activation as a constant.
template <class Call>
static void with_act(Act act, const Call& call) {
  switch (act) {
    case Act::none: return call(std::integral_constant<Act, Act::none>());
    case Act::relu: return call(std::integral_constant<Act, Act::relu>());
    case Act::hard_swish: return call(std::integral_constant<Act, Act::hard_swish>());
  }
}

template <class T>
static void pointwise(const PointwiseOf<T>& op, Act act, long first, const T* x, long x_stride, T* out, long out_stride,
                      const T* residual, long pixels) {
  out += first;
  if (residual) return pointwise_panel<Act::none, true>(op, first, x, x_stride, out, out_stride, residual, out_stride, pixels);
  with_act(act, [&](auto constant) {
    pointwise_panel<decltype(constant)::value, false>(op, first, x, x_stride, out, out_stride, residual, 0, pixels);
  });
}

template <class T>
static void block_rows_any(const BlockRowsOf<T>& op, BlockState& state) {
  (op.depthwise.kernel == 3 ? block_rows<3, T> : block_rows<5, T>)(op, state);
}

template <class T>
static void scale(T* x, const float* gate, long channels, long pixels, Act act) {
  with_act(act, [&](auto constant) {
    for (long p = 0; p < pixels; p++)
      for (long c = 0; c < channels; c += 8) {
        T* at = x + p * channels + c;
        store(at, activate<decltype(constant)::value>(load<f32x8>(at) * load<f32x8>(gate + c)));
      }
  });
}

// Rows of GROUP input channels, of which each has its own gate.
template <class T>
static void scale_panel(T* out, const T* w, const float* gate, long k, long width) {
  const long row = width * GROUP<T>;
  for (long i = 0; i < k; i += GROUP<T>) {
    f32x8 by;
    for (int lane = 0; lane < 8; lane++) by[lane] = gate[i + lane % GROUP<T>];
    for (long c = 0; c < row; c += 8) store(out + i * width + c, load<f32x8>(w + i * width + c) * by);
  }
}

// Summed row by row: a sum of hundreds of thousands of floats in a line would lose their last digits.
template <int N, class T>  // channels at a time, in eights
static void mean_of(const T* x, long channels, long rows, long columns, long row_stride, float* out) {
  f32x8 sum[N] = {};
  for (long row = 0; row < rows; row++) {
    f32x8 line[N] = {};
    for (long p = 0; p < columns; p++)
      for (int i = 0; i < N; i++) line[i] += load<f32x8>(x + row * row_stride + p * channels + i * 8);
    for (int i = 0; i < N; i++) sum[i] += line[i];
  }
  for (int i = 0; i < N; i++) store(out + i * 8, sum[i] * (1.0f / (rows * columns)));
}

template <class T>
static void mean(const T* x, long channels, long rows, long columns, long row_stride, float* out) {
  long c = 0;
  for (; c + 64 <= channels; c += 64) mean_of<8>(x + c, channels, rows, columns, row_stride, out + c);
  for (; c < channels; c += 8) mean_of<1>(x + c, channels, rows, columns, row_stride, out + c);
}

template <class T>
static long multiply_adds(long rounds, float* out) {
  constexpr int NV = PANEL / LANES<Vec>;
  const Vec a = load<Vec>(out);
  Vec sum[TILE][NV], total{};
#pragma GCC unroll 16
  for (int m = 0; m < TILE; m++)
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) sum[m][n] = a + static_cast<float>(m * NV + n);  // no two sums alike
  for (long i = 0; i < rounds; i++)
#pragma GCC unroll 16
    for (int m = 0; m < TILE; m++)
#pragma GCC unroll 8
      for (int n = 0; n < NV; n++) {
        using Factors = decltype(factors<Vec>(static_cast<const T*>(nullptr)));
        sum[m][n] = multiply_add(sum[m][n], (Factors)sum[m][n], (Factors)a);
      }
#pragma GCC unroll 16
  for (int m = 0; m < TILE; m++)
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) total += sum[m][n];
  store(out, total);
  return rounds * TILE * PANEL * GROUP<T>;
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

template <class T>
constexpr MapKernels<T> map_kernels = {
    TEXT(HSWISH_LEVEL), PANEL,          pointwise<T>, block_rows_any<T>,        block_work,       stem_row_any<T>,
    stem_work,          scale<T>,       scale_panel<T>, mean<T>, upsample_multiply_row<T>, multiply_adds<T>,
};

#if defined(__AVX512BF16__)

static void pointwise_floats(const PointwiseOf<Bf16>& op, Act act, long first, const Bf16* x, long x_stride, float* out,
                             long out_stride, long pixels) {
  const float* none = nullptr;
  with_act(act, [&](auto constant) {
    pointwise_panel<decltype(constant)::value, false>(op, first, x, x_stride, out + first, out_stride, none, 0, pixels);
  });
}

static void linear(const PointwiseOf<Bf16>& op, Act act, long first, const float* x, long x_stride, float* out,
                   long out_stride, long pixels) {
  with_act(act, [&](auto constant) {
    linear_panel<decltype(constant)::value>(op, first, x, x_stride, out + first, out_stride, pixels);
  });
}

static void to_halves(const float* x, long n, Bf16* out) {
  for (long i = 0; i < n; i += 8) store(out + i, load<f32x8>(x + i));
}

const Bf16Kernels table = {map_kernels<Bf16>, pointwise_floats, linear, to_halves};

#else

static void h_sigmoid_all(float* x, long n) {
  for (long i = 0; i < n; i += 8) store(x + i, h_sigmoid(load<f32x8>(x + i)));
}

const Kernels table = {map_kernels<float>, h_sigmoid_all, upsample_add_row, upsample_planes_row, upsample_mask_row};

#endif

}  // namespace HSWISH_LEVEL
}  // namespace hswish
