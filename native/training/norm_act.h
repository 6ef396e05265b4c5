// Batch norm with the non-linearity after it, as one step each way over (rows, channels).
//
//   y = act(z),  z = scale x + shift        scale = gamma / std, shift = beta - mean scale
//
// Only x is kept for the way back: z and act'(z) are made again, which costs less than reading them.
#pragma once

#include "kernels.h"
#include "storage.h"

namespace hswish::HSWISH_LEVEL::training {

using hswish::training::Affine;
using hswish::training::Loop;

// Section 5.2 of the paper, and its derivative.

template <Act act, int N>
static inline Floats<N> activate(Floats<N> z) {
  const Floats<N> zero{}, one = splat<N>(1.0f);
  if constexpr (act == Act::relu) return z < 0.0f ? zero : z;  // what is not a number stays so
  if constexpr (act == Act::hard_swish) {
    const Floats<N> gate = z * (1 / 6.0f) + 0.5f;
    const Floats<N> above = gate < 0.0f ? zero : gate;
    return z * (above > 1.0f ? one : above);
  }
  return z;
}

template <Act act, int N>
static inline Floats<N> slope(Floats<N> z) {
  const Floats<N> zero{}, one = splat<N>(1.0f);
  if constexpr (act == Act::relu) return z > 0.0f ? one : zero;
  if constexpr (act == Act::hard_swish) {
    const Floats<N> inner = z <= -3.0f ? zero : z * (1 / 3.0f) + 0.5f;
    return z >= 3.0f ? one : inner;
  }
  return one;
}

// Rows are cut into parts whose number does not depend on the threads; so sums do not either.
constexpr long PARTS = 32;

template <class Work>
static void each_part(const Loop& loop, long rows, const Work& work) {
  const long size = larger(FEWEST_ROWS, (rows + PARTS - 1) / PARTS);
  loop((rows + size - 1) / size, [&](long part) { work(part, part * size, smaller(rows, (part + 1) * size)); });
}

// sums[0], sums[1] = sums over the rows of what terms(row, channel, lanes, vectors [2]) adds up.
template <class Terms>
static void two_sums(const Loop& loop, long rows, long channels, double* sums, const Terms& terms) {
  Memory<double> memory(PARTS * 2 * channels);
  double* const parts = memory.data();
  std::memset(parts, 0, PARTS * 2 * channels * sizeof(double));
  each_part(loop, rows, [&](long part, long first, long last) {
    add_rows<2>(first, last, channels, parts + part * 2 * channels, terms);
  });
  std::memset(sums, 0, 2 * channels * sizeof(double));
  for (long part = 0; part < PARTS; part++)
    for (long c = 0; c < 2 * channels; c++) sums[c] += parts[part * 2 * channels + c];
}

template <class T>
static void moments_of(const Loop& loop, long rows, long channels, const T* x, double* sums) {
  two_sums(loop, rows, channels, sums, [&](long row, long c, auto lanes, auto& sum) {
    const auto v = load<decltype(lanes)::value>(x + row * channels + c);
    sum[0] += v;
    sum[1] += v * v;
  });
}

template <class T, Act act>
static void affine_of(const Loop& loop, const Affine& op, const T* x, T* out) {
  each_part(loop, op.rows, [&](long, long first, long last) {
    for (long row = first; row < last; row++)
      each_vector(op.channels, [&](long c, auto lanes) {
        constexpr int N = decltype(lanes)::value;
        const long at = row * op.channels + c;
        store<N>(out + at, activate<act, N>(load<N>(x + at) * load<N>(op.scale + c) + load<N>(op.shift + c)));
      });
  });
}

template <class T, Act act>
static void affine_sums_of(const Loop& loop, const Affine& op, const T* gradient, const T* x, double* sums) {
  two_sums(loop, op.rows, op.channels, sums, [&](long row, long c, auto lanes, auto& sum) {
    constexpr int N = decltype(lanes)::value;
    const long at = row * op.channels + c;
    const Floats<N> v = load<N>(x + at);
    const Floats<N> g = load<N>(gradient + at) * slope<act, N>(v * load<N>(op.scale + c) + load<N>(op.shift + c));
    sum[0] += g;
    sum[1] += g * v;
  });
}

template <class T, Act act>
static void affine_input_of(const Loop& loop, const Affine& op, const T* gradient, const T* x, const float* by_x,
                            const float* offset, T* out) {
  each_part(loop, op.rows, [&](long, long first, long last) {
    for (long row = first; row < last; row++)
      each_vector(op.channels, [&](long c, auto lanes) {
        constexpr int N = decltype(lanes)::value;
        const long at = row * op.channels + c;
        const Floats<N> v = load<N>(x + at), scale = load<N>(op.scale + c);
        const Floats<N> g = load<N>(gradient + at) * slope<act, N>(v * scale + load<N>(op.shift + c));
        store<N>(out + at, scale * g + load<N>(by_x + c) * v + load<N>(offset + c));
      });
  });
}

// call(type, act) with both as compile-time constants.
template <class Call>
static void with_act(bool half, Act act, const Call& call) {
  const auto typed = [&](auto type) {
    switch (act) {
      case Act::none: return call(type, std::integral_constant<Act, Act::none>());
      case Act::relu: return call(type, std::integral_constant<Act, Act::relu>());
      case Act::hard_swish: return call(type, std::integral_constant<Act, Act::hard_swish>());
    }
  };
  half ? typed(bf16()) : typed(float());
}

static void moments(const Loop& loop, bool half, long rows, long channels, const void* x, double* sums) {
  if (half) return moments_of(loop, rows, channels, static_cast<const bf16*>(x), sums);
  moments_of(loop, rows, channels, static_cast<const float*>(x), sums);
}

static void affine(const Loop& loop, bool half, const Affine& op, const void* x, void* out) {
  with_act(half, op.act, [&](auto type, auto act) {
    typedef decltype(type) T;
    affine_of<T, decltype(act)::value>(loop, op, static_cast<const T*>(x), static_cast<T*>(out));
  });
}

static void affine_sums(const Loop& loop, bool half, const Affine& op, const void* gradient, const void* x, double* sums) {
  with_act(half, op.act, [&](auto type, auto act) {
    typedef decltype(type) T;
    affine_sums_of<T, decltype(act)::value>(loop, op, static_cast<const T*>(gradient), static_cast<const T*>(x), sums);
  });
}

static void affine_input(const Loop& loop, bool half, const Affine& op, const void* gradient, const void* x,
                         const float* by_x, const float* offset, void* out) {
  with_act(half, op.act, [&](auto type, auto act) {
    typedef decltype(type) T;
    affine_input_of<T, decltype(act)::value>(loop, op, static_cast<const T*>(gradient), static_cast<const T*>(x), by_x,
                                             offset, static_cast<T*>(out));
  });
}

}  // namespace hswish::HSWISH_LEVEL::training
