#include "int8_pack.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace hswish {

// Refuses what the kernels could not compute exactly: sums beyond 32 bits, results beyond 2^30.
static void check(const LayerInt8& layer) {
  require(layer.zero >= 0 && layer.zero <= 255 && layer.low >= 0 && layer.low <= 255, "a zero point is a byte");
  require(std::isfinite(layer.inverse) && layer.inverse > 0, "a scale is a positive number");
  for (long n = 0; n < layer.n; n++) {
    long most = std::labs(layer.bias[n]);
    for (long i = 0; i < layer.taps; i++) most += 255L * std::abs(int{layer.weights[n * layer.taps + i]});
    require(most < (1L << 31), "the sums of an 8-bit layer do not fit 32 bits");
    const double scale = layer.scale[n];
    require(std::isfinite(scale) && scale >= 0, "a scale is a positive number");
    require(most * scale * layer.inverse < (1L << 29), "the scales of an 8-bit layer are too far apart");
  }
}

PackedInt8::PackedInt8(const LayerInt8& layer, int offset, long padded_n, long weight_bytes)
    : weights((weight_bytes + 3) / 4 + 16), bias(padded_n), scale(padded_n) {
  check(layer);
  int32_t* biases = reinterpret_cast<int32_t*>(bias.get());
  for (long n = 0; n < layer.n; n++) {
    long taken = 0;
    for (long i = 0; i < layer.taps; i++) taken += layer.weights[n * layer.taps + i];
    biases[n] = static_cast<int32_t>(layer.bias[n] + offset * taken);
  }
  std::copy_n(layer.scale, layer.n, scale.get());
  rescale.scale = scale.get();
  rescale.inverse = layer.inverse, rescale.zero = layer.zero, rescale.low = layer.low;
}

PackedPointwiseInt8::PackedPointwiseInt8(const LayerInt8& layer, int offset)
    : PackedInt8(layer, offset, round_up(layer.n, LANE), round_up(layer.n, LANE) * round_up(layer.taps, 4)), k(layer.taps) {
  const long quads = (k + 3) / 4;
  for (long n = 0; n < layer.n; n++)
    for (long i = 0; i < k; i++)
      packed()[(((n / LANE) * quads + i / 4) * LANE + n % LANE) * 4 + i % 4] = layer.weights[n * k + i];
  op = {packed(), biases(), quads, round_up(layer.n, LANE), rescale};
}

PackedDepthwiseInt8::PackedDepthwiseInt8(const LayerInt8& layer, int offset, long kernel, long stride, long dilation)
    : PackedInt8(layer, offset, round_up(layer.n, LANE), round_up(layer.n, LANE) * kernel * round_up(kernel, 4)) {
  const long quads = (kernel + 3) / 4;
  for (long n = 0; n < layer.n; n++)
    for (long y = 0; y < kernel; y++)
      for (long x = 0; x < kernel; x++)
        packed()[((((n / LANE) * kernel + y) * quads + x / 4) * LANE + n % LANE) * 4 + x % 4] =
            layer.weights[(n * kernel + y) * kernel + x];
  op = {packed(), biases(), round_up(layer.n, LANE), kernel, stride, dilation, rescale};
}

PackedStemInt8::PackedStemInt8(const LayerInt8& layer, int offset, long planes, long stride)
    : PackedInt8(layer, offset, round_up(layer.n, LANE), round_up(layer.n, LANE) * 3 * round_up(3 * planes, 4)) {
  const long quads = (3 * planes + 3) / 4;
  for (long n = 0; n < layer.n; n++)
    for (long c = 0; c < planes; c++)
      for (long y = 0; y < 3; y++)
        for (long x = 0; x < 3; x++) {
          const long tap = x * planes + c;  // in a row of the picture
          packed()[((((n / LANE) * 3 + y) * quads + tap / 4) * LANE + n % LANE) * 4 + tap % 4] =
              layer.weights[((n * planes + c) * 3 + y) * 3 + x];
        }
  op = {packed(), biases(), planes, quads, round_up(layer.n, LANE), stride, rescale};
}

}  // namespace hswish
