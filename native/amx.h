// 1x1 convolutions of halves by Intel's tile registers (AMX): up to 16 pixels by one panel of 32 output channels, 32
// input channels a step, which takes 32 cycles where the instruction for pairs in vectors takes 1,024.
//
// The registers' sizes belong to the thread and other libraries set them, too: they are set anew for each panel.
// Tiles 0 and 1 are the sums of the panel's left and right 16 channels; 2, 3 and 4 pixels, left and right weights of a
// whole step; 5, 6 and 7 the same of the last step, where input channels are no multiple of 32.
#pragma once

#include <immintrin.h>

namespace hswish::HSWISH_LEVEL {

constexpr long TILE_ROWS = 16, TILE_PAIRS = 16;
constexpr long PREFETCHES = 8;  // a step: with so short ones, one line each would come too late

struct alignas(64) TileSizes {
  uint8_t palette = 1, rest[15] = {};
  uint16_t bytes[16] = {};  // of a row
  uint8_t rows[16] = {};

  TileSizes(long pixels, long left, long right, long last) {
    const long channels[] = {left, right};
    for (int side = 0; side < 2; side++) {
      set(side, pixels, channels[side] * 4);
      set(3 + side, TILE_PAIRS, channels[side] * 4);
      set(6 + side, last, channels[side] * 4);
    }
    set(2, pixels, TILE_PAIRS * 4);
    set(5, pixels, last * 4);
  }

  void set(int tile, long height, long width) {
    if (height && width) rows[tile] = static_cast<uint8_t>(height), bytes[tile] = static_cast<uint16_t>(width);
  }
};

// sums[16][32] = products of `m` pixels with a panel of `left` + `right` channels.
static inline void tile_sums(float* sums, const Bf16* x, long x_stride, const Bf16* w, long pairs, long left, long right,
                             const float*& soon, long distance) {
  const long width = left + right, row = width * 4;  // bytes of a pair of input channels' weights
  _tile_zero(0);
  if (right) _tile_zero(1);
  long pair = 0;
  for (; pair + TILE_PAIRS <= pairs; pair += TILE_PAIRS) {
    const Bf16* weights = w + pair * width * 2;
    _tile_loadd(2, x + pair * 2, x_stride * 2);
    _tile_loadd(3, weights, row);
    _tile_dpbf16ps(0, 2, 3);
    if (right) {
      _tile_loadd(4, weights + left * 2, row);
      _tile_dpbf16ps(1, 2, 4);
    }
    for (int i = 0; i < PREFETCHES; i++, soon += distance) prefetch(soon);
  }
  if (pair < pairs) {
    const Bf16* weights = w + pair * width * 2;
    _tile_loadd(5, x + pair * 2, x_stride * 2);
    _tile_loadd(6, weights, row);
    _tile_dpbf16ps(0, 5, 6);
    if (right) {
      _tile_loadd(7, weights + left * 2, row);
      _tile_dpbf16ps(1, 5, 7);
    }
  }
  _tile_stored(0, sums, 32 * sizeof(float));
  if (right) _tile_stored(1, sums + 16, 32 * sizeof(float));
}

// `panel` of pointwise.h.
template <class V, int NV, Act act, bool residual, class Y>
static void tile_panel(const Bf16* x, long x_stride, const Bf16* w, long k, const float* bias, Y* out, long out_stride,
                       const Y* res, long res_stride, long pixels) {
  constexpr long L = LANES<V>, left = NV * L < 16 ? NV * L : 16, right = NV * L - left;
  alignas(64) float sums[TILE_ROWS * 32];
  const long pairs = k / 2;
  long tiles_left = (pixels + TILE_ROWS - 1) / TILE_ROWS, distance, sized = 0;
  const float* soon = claim(pairs / TILE_PAIRS * PREFETCHES * tiles_left, 16, distance);
  for (; tiles_left > 0; tiles_left--) {
    const long m = (pixels + tiles_left - 1) / tiles_left;  // tiles of nearly one size
    if (m != sized) {
      const TileSizes sizes(m, left, right, pairs % TILE_PAIRS);
      _tile_loadconfig(&sizes);
      sized = m;
    }
    tile_sums(sums, x, x_stride, w, pairs, left, right, soon, distance);
    for (long p = 0; p < m; p++)
#pragma GCC unroll 4
      for (int n = 0; n < NV; n++) {
        V v = activate<act>(load<V>(sums + p * 32 + n * L) + load<V>(bias + n * L));
        if constexpr (residual) v += load<V>(res + p * res_stride + n * L);
        store(out + p * out_stride + n * L, v);
      }
    x += m * x_stride, out += m * out_stride, pixels -= m;
    if (residual) res += m * res_stride;
  }
  _tile_release();
}

}  // namespace hswish::HSWISH_LEVEL
