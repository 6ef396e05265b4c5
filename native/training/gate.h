// Squeeze-and-excitation over (pictures, pixels, channels): each picture's sums, and its gate applied.
//
//   y = gate x,  gate = f(mean of x)        to x goes back  gate g + f'(...) sum of (g x) / pixels
//
// torch makes four maps of that line and adds them up; here it is one step, as the way there is.
#pragma once

#include "kernels.h"
#include "storage.h"

namespace hswish::HSWISH_LEVEL::training {

using hswish::training::Pictures;

// sums[picture][c] = sum over the pixels of the vector that term(index, lanes) gives. A picture is one thread's.
template <class Term>
static void sums_of(const Loop& loop, const Pictures& of, float* sums, const Term& term) {
  loop(of.pictures, [&](long picture) {
    static thread_local Memory<double> memory;
    double* const totals = memory.at_least(of.channels);
    std::memset(totals, 0, of.channels * sizeof(double));
    add_rows<1>(picture * of.pixels, (picture + 1) * of.pixels, of.channels, totals,
                [&](long row, long c, auto lanes, auto& sum) { sum[0] += term(row * of.channels + c, lanes); });
    for (long c = 0; c < of.channels; c++) sums[picture * of.channels + c] = static_cast<float>(totals[c]);
  });
}

template <class T>
static void picture_sums_of(const Loop& loop, const Pictures& of, const T* x, float* sums) {
  sums_of(loop, of, sums, [&](long at, auto lanes) { return load<decltype(lanes)::value>(x + at); });
}

template <class T>
static void picture_products_of(const Loop& loop, const Pictures& of, const T* gradient, const T* x, float* sums) {
  sums_of(loop, of, sums, [&](long at, auto lanes) {
    constexpr int N = decltype(lanes)::value;
    return load<N>(gradient + at) * load<N>(x + at);
  });
}

template <class T>
static void gate_of(const Loop& loop, const Pictures& of, const T* x, const float* gates, const float* offsets, T* out) {
  loop(of.pictures, [&](long picture) {
    const float *gate = gates + picture * of.channels, *offset = offsets + picture * of.channels;
    for (long pixel = 0; pixel < of.pixels; pixel++)
      each_vector(of.channels, [&](long c, auto lanes) {
        constexpr int N = decltype(lanes)::value;
        const long at = (picture * of.pixels + pixel) * of.channels + c;
        store<N>(out + at, load<N>(x + at) * load<N>(gate + c) + load<N>(offset + c));
      });
  });
}

static void picture_sums(const Loop& loop, bool half, const Pictures& of, const void* x, float* sums) {
  if (half) return picture_sums_of(loop, of, static_cast<const bf16*>(x), sums);
  picture_sums_of(loop, of, static_cast<const float*>(x), sums);
}

static void picture_products(const Loop& loop, bool half, const Pictures& of, const void* gradient, const void* x,
                             float* sums) {
  if (half) return picture_products_of(loop, of, static_cast<const bf16*>(gradient), static_cast<const bf16*>(x), sums);
  picture_products_of(loop, of, static_cast<const float*>(gradient), static_cast<const float*>(x), sums);
}

static void gate(const Loop& loop, bool half, const Pictures& of, const void* x, const float* gates, const float* offsets,
                 void* out) {
  if (half) return gate_of(loop, of, static_cast<const bf16*>(x), gates, offsets, static_cast<bf16*>(out));
  gate_of(loop, of, static_cast<const float*>(x), gates, offsets, static_cast<float*>(out));
}

}  // namespace hswish::HSWISH_LEVEL::training
