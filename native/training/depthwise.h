// Depthwise convolution for training: forward, and the gradients of input and weights.
//
// One task is one picture and one panel of channels. Its rows are copied, as floats with zeros around
// them, into a strip that stays in the second-level cache; over the strip all three are plain sums
// without a test for borders.
#pragma once

#include <type_traits>

#include "kernels.h"
#include "storage.h"

namespace hswish::HSWISH_LEVEL::training {

using hswish::training::Loop;
using hswish::training::Window;

constexpr long STRIP_BYTES = 192 * 1024;

// The padded strip that a window slides over.
struct Strip {
  long width, rows, out_rows;  // rows of input that `out_rows` rows of output need

  template <int N>
  static Strip of(const Window& w, int stride) {
    const long reach = (w.kernel - 1) * w.dilation;
    Strip s;
    s.width = larger(w.width + 2 * w.padding, (w.out_width - 1) * stride + reach + 1);
    s.out_rows = larger(1L, smaller(w.out_height, (STRIP_BYTES / static_cast<long>(s.width * N * sizeof(float)) - reach) / stride));
    s.rows = (s.out_rows - 1) * stride + reach + 1;
    return s;
  }
};

// Rows [first, last) of the padded picture, counted from its padding's first.
template <int N, class T>
static void fill(float* out, const T* x, const Window& w, long padding, long width, long first, long last) {
  for (long row = first; row < last; row++, out += width * N) {
    const long y = row - padding;
    if (y < 0 || y >= w.height) {
      std::memset(out, 0, width * N * sizeof(float));
      continue;
    }
    std::memset(out, 0, padding * N * sizeof(float));
    float* inside = out + padding * N;
    for (long i = 0; i < w.width; i++) store<N>(inside + i * N, load<N>(x + (y * w.width + i) * w.channels));
    std::memset(inside + w.width * N, 0, (width - padding - w.width) * N * sizeof(float));
  }
}

// COUNT neighbouring outputs, their sums in registers.
template <int N, int K, int S, int COUNT, class T>
static inline void outputs(const float* x, long width, long dilation, const float* weights, T* out, long channels) {
  Floats<N> sum[COUNT] = {};
  for (int ky = 0; ky < K; ky++)
#pragma GCC unroll 5
    for (int kx = 0; kx < K; kx++) {
      const Floats<N> tap = load<N>(weights + (ky * K + kx) * N);
#pragma GCC unroll 8
      for (int o = 0; o < COUNT; o++) sum[o] += tap * load<N>(x + (ky * dilation * width + o * S + kx * dilation) * N);
    }
#pragma GCC unroll 8
  for (int o = 0; o < COUNT; o++) store<N>(out + o * channels, sum[o]);
}

template <int N, int K, int S, class T>
static void slide(Memory<float>& scratch, const Window& w, const T* x, const float* weights, T* out) {
  const Strip strip = Strip::of<N>(w, S);
  float* rows = scratch.at_least(strip.width * strip.rows * N);
  for (long first = 0; first < w.out_height; first += strip.out_rows) {
    const long last = smaller(w.out_height, first + strip.out_rows);
    fill<N>(rows, x, w, w.padding, strip.width, first * S, (last - 1) * S + (K - 1) * w.dilation + 1);
    for (long y = first; y < last; y++) {
      const float* row = rows + (y - first) * S * strip.width * N;
      T* line = out + y * w.out_width * w.channels;
      long i = 0;
      const auto run = [&](auto count) {
        constexpr int COUNT = decltype(count)::value;
        for (; i + COUNT <= w.out_width; i += COUNT)
          outputs<N, K, S, COUNT>(row + i * S * N, strip.width, w.dilation, weights, line + i * w.channels, w.channels);
      };
      run(std::integral_constant<int, 8>());
      run(std::integral_constant<int, 4>());
      run(std::integral_constant<int, 1>());
    }
  }
}

// Gradient of the input at stride 2: each pixel gathers from the outputs whose windows met it.
template <int N, int K, class T>
static void gather(Memory<float>& scratch, const Window& w, const T* gradient, const float* weights, T* out) {
  constexpr long MARGIN = K / 2 + 1;
  Window of_gradient = w;
  of_gradient.height = w.out_height, of_gradient.width = w.out_width;
  const long width = w.out_width + 2 * MARGIN, height = w.out_height + 2 * MARGIN;
  float* plane = scratch.at_least(width * height * N);
  fill<N>(plane, gradient, of_gradient, MARGIN, width, 0, height);
  for (long y = 0; y < w.height; y++)
    for (long x = 0; x < w.width; x++) {
      const long top = y + w.padding, left = x + w.padding;
      Floats<N> sum{};
      for (int ky = top & 1; ky < K; ky += 2) {
        const long row = (top - ky) / 2 + MARGIN;
        if (row >= height) continue;
        for (int kx = left & 1; kx < K; kx += 2) {
          const long column = (left - kx) / 2 + MARGIN;
          if (column < width) sum += load<N>(weights + (ky * K + kx) * N) * load<N>(plane + (row * width + column) * N);
        }
      }
      store<N>(out + (y * w.width + x) * w.channels, sum);
    }
}

// Gradient of one panel's weights over one picture, [K * K][N]; the sums of all taps stay in registers.
template <int N, int K, int S, class T>
static void correlate(Memory<float>& scratch, const Window& w, const T* gradient, const T* x, float* out) {
  const Strip strip = Strip::of<N>(w, S);
  float* rows = scratch.at_least((strip.width * strip.rows + w.out_width) * N);
  float* line = rows + strip.width * strip.rows * N;
  std::memset(out, 0, K * K * N * sizeof(float));
  for (long first = 0; first < w.out_height; first += strip.out_rows) {
    const long last = smaller(w.out_height, first + strip.out_rows);
    fill<N>(rows, x, w, w.padding, strip.width, first * S, (last - 1) * S + (K - 1) * w.dilation + 1);
    for (long y = first; y < last; y++) {
      const float* row = rows + (y - first) * S * strip.width * N;
      for (long i = 0; i < w.out_width; i++) store<N>(line + i * N, load<N>(gradient + (y * w.out_width + i) * w.channels));
      Floats<N> sum[K * K];
#pragma GCC unroll 25
      for (int k = 0; k < K * K; k++) sum[k] = load<N>(out + k * N);
      for (long i = 0; i < w.out_width; i++) {
        const Floats<N> g = load<N>(line + i * N);
#pragma GCC unroll 5
        for (int ky = 0; ky < K; ky++)
#pragma GCC unroll 5
          for (int kx = 0; kx < K; kx++)
            sum[ky * K + kx] += g * load<N>(row + (ky * w.dilation * strip.width + i * S + kx * w.dilation) * N);
      }
#pragma GCC unroll 25
      for (int k = 0; k < K * K; k++) store<N>(out + k * N, sum[k]);
    }
  }
}

// task(picture, first channel, lanes) for every picture and panel; a last panel may have 8 channels.
template <class Task>
static void each_panel(const Loop& loop, const Window& w, const Task& task) {
  const long wide = w.channels / 16, panels = (w.channels + 15) / 16;
  loop(w.pictures * panels, [&](long index) {
    static thread_local Memory<float> scratch;
    const long picture = index / panels, panel = index % panels;
    if (panel < wide)
      task(scratch, picture, panel * 16, std::integral_constant<int, 16>());
    else
      task(scratch, picture, panel * 16, std::integral_constant<int, 8>());
  });
}

// Weights of the panel from `first` on, tap by tap: [K * K][N].
template <int N, int K>
static void take_panel(const float* weights, long first, bool flipped, float* out) {
  for (int k = 0; k < K * K; k++)
    for (int i = 0; i < N; i++) out[k * N + i] = weights[(first + i) * K * K + (flipped ? K * K - 1 - k : k)];
}

template <class T, int K, int S>
static void depthwise_of(const Loop& loop, const Window& w, const T* x, const float* weights, bool flipped, T* out) {
  each_panel(loop, w, [&](Memory<float>& scratch, long picture, long first, auto lanes) {
    constexpr int N = decltype(lanes)::value;
    alignas(64) float taps[K * K * N];
    take_panel<N, K>(weights, first, flipped, taps);
    slide<N, K, S>(scratch, w, x + picture * w.height * w.width * w.channels + first, taps,
                   out + picture * w.out_height * w.out_width * w.channels + first);
  });
}

// At stride 1 the gradient of the input is a convolution again: of the gradient, by the flipped weights.
template <class T, int K, int S>
static void depthwise_input_of(const Loop& loop, const Window& w, const T* gradient, const float* weights, T* out) {
  if constexpr (S == 1) {
    Window back = w;
    back.height = w.out_height, back.width = w.out_width, back.out_height = w.height, back.out_width = w.width;
    back.padding = (K - 1) * w.dilation - w.padding;
    return depthwise_of<T, K, 1>(loop, back, gradient, weights, true, out);
  }
  each_panel(loop, w, [&](Memory<float>& scratch, long picture, long first, auto lanes) {
    constexpr int N = decltype(lanes)::value;
    alignas(64) float taps[K * K * N];
    take_panel<N, K>(weights, first, false, taps);
    gather<N, K>(scratch, w, gradient + picture * w.out_height * w.out_width * w.channels + first, taps,
                 out + picture * w.height * w.width * w.channels + first);
  });
}

// Each picture's part by itself, then their sum in one order: the threads' number changes nothing.
template <class T, int K, int S>
static void depthwise_weights_of(const Loop& loop, const Window& w, const T* gradient, const T* x, float* out) {
  Memory<float> memory(w.pictures * w.channels * K * K);
  float* const parts = memory.data();
  each_panel(loop, w, [&](Memory<float>& scratch, long picture, long first, auto lanes) {
    correlate<decltype(lanes)::value, K, S>(scratch, w,
                                            gradient + picture * w.out_height * w.out_width * w.channels + first,
                                            x + picture * w.height * w.width * w.channels + first,
                                            parts + (picture * w.channels + first) * K * K);
  });
  const long wide = w.channels / 16 * 16;
  for (long c = 0; c < w.channels; c++) {
    const long first = c / 16 * 16, lanes = c < wide ? 16 : 8;
    for (int k = 0; k < K * K; k++) {
      double sum = 0;
      for (long p = 0; p < w.pictures; p++) sum += parts[(p * w.channels + first) * K * K + k * lanes + c - first];
      out[c * K * K + k] = static_cast<float>(sum);
    }
  }
}

// call(type, kernel, stride) with the three as compile-time constants.
template <class Call>
static void with_constants(bool half, const Window& w, const Call& call) {
  const auto sized = [&](auto type) {
    if (w.kernel == 3 && w.stride == 1) return call(type, std::integral_constant<int, 3>(), std::integral_constant<int, 1>());
    if (w.kernel == 3) return call(type, std::integral_constant<int, 3>(), std::integral_constant<int, 2>());
    if (w.stride == 1) return call(type, std::integral_constant<int, 5>(), std::integral_constant<int, 1>());
    return call(type, std::integral_constant<int, 5>(), std::integral_constant<int, 2>());
  };
  half ? sized(bf16()) : sized(float());
}

static void depthwise(const Loop& loop, bool half, const Window& w, const void* x, const float* weights, void* out) {
  with_constants(half, w, [&](auto type, auto kernel, auto stride) {
    typedef decltype(type) T;
    depthwise_of<T, decltype(kernel)::value, decltype(stride)::value>(loop, w, static_cast<const T*>(x), weights, false,
                                                                      static_cast<T*>(out));
  });
}

static void depthwise_input(const Loop& loop, bool half, const Window& w, const void* gradient, const float* weights,
                            void* out) {
  with_constants(half, w, [&](auto type, auto kernel, auto stride) {
    typedef decltype(type) T;
    depthwise_input_of<T, decltype(kernel)::value, decltype(stride)::value>(loop, w, static_cast<const T*>(gradient),
                                                                            weights, static_cast<T*>(out));
  });
}

static void depthwise_weights(const Loop& loop, bool half, const Window& w, const void* gradient, const void* x,
                              float* out) {
  with_constants(half, w, [&](auto type, auto kernel, auto stride) {
    typedef decltype(type) T;
    depthwise_weights_of<T, decltype(kernel)::value, decltype(stride)::value>(
        loop, w, static_cast<const T*>(gradient), static_cast<const T*>(x), out);
  });
}

}  // namespace hswish::HSWISH_LEVEL::training
