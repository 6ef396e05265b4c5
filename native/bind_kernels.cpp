// Each kernel by itself, for the tests: shapes are given by the arrays, which are checked.
//
// The first argument is always the instruction set. Channels are last, and multiples of 8 as in the engine;
// arrays may begin anywhere, so that the tests can take unaligned ones. Maps of T are arrays of floats, or of
// 16-bit integers that hold halves.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "levels.h"
#include "steps.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace hswish;

typedef nb::ndarray<const float, nb::c_contig, nb::device::cpu> In;
typedef nb::ndarray<float, nb::c_contig, nb::device::cpu> Out;
typedef nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu> Bytes;
typedef nb::ndarray<const uint8_t, nb::c_contig, nb::device::cpu> ByteIn;
template <class T>
using Number = std::conditional_t<std::is_same_v<T, float>, float, uint16_t>;
template <class T>
using MapIn = nb::ndarray<const Number<T>, nb::c_contig, nb::device::cpu>;
template <class T>
using Map = nb::ndarray<Number<T>, nb::c_contig, nb::device::cpu>;

template <class T>
static const MapKernels<T>& kernels_for(const std::string& name) {
  if constexpr (std::is_same_v<T, float>) {
    return *level(name).kernels;
  } else {
    require(level(name).bf16, name + " does not multiply halves here");
    return *level(name).bf16;
  }
}

template <class T>
static const T* stored(const MapIn<T>& x) { return reinterpret_cast<const T*>(x.data()); }
template <class T>
static T* stored(const Map<T>& x) { return reinterpret_cast<T*>(x.data()); }

template <class Array>
static long size(const Array& array, size_t axis) {
  require(axis < array.ndim(), "an array has too few dimensions");
  return static_cast<long>(array.shape(axis));
}

template <class T>
static PackedPointwiseOf<T> packed_for(const std::string& name, In w, In b, long stored_channels) {
  const long n = size(w, 0), k = size(w, 1);
  require(stored_channels == round_up(k, GROUP<T>) && size(b, 0) == n && n % 8 == 0, "pointwise: weights");
  return {w.data(), b.data(), n, k, kernels_for<T>(name).panel};
}

template <class T>
static void pointwise(const std::string& name, MapIn<T> x, In w, In b, int act, Map<T> out, std::optional<MapIn<T>> residual) {
  const PackedPointwiseOf<T> packed = packed_for<T>(name, w, b, size(x, 1));
  const long pixels = size(x, 0), n = packed.op.n;
  require(size(out, 0) == pixels && size(out, 1) == n && (!residual || residual->size() == out.size()), "pointwise: out");
  for (long first = 0; first < n; first += kernels_for<T>(name).panel)
    kernels_for<T>(name).pointwise(packed.op, static_cast<Act>(act), first, stored<T>(x), size(x, 1), stored<T>(out), n,
                                   residual ? stored<T>(*residual) : nullptr, pixels);
}

// Of halves to floats: from a map, or from vectors of floats.
template <class Array>
static void to_floats(const std::string& name, Array x, In w, In b, int act, Out out) {
  const PackedPointwiseOf<Bf16> packed = packed_for<Bf16>(name, w, b, size(x, 1));
  const Bf16Kernels& k = *level(name).bf16;
  const long pixels = size(x, 0), n = packed.op.n;
  require(size(out, 0) == pixels && size(out, 1) == n, "pointwise: out");
  for (long first = 0; first < n; first += k.panel)
    if constexpr (std::is_same_v<Array, In>)
      k.linear(packed.op, static_cast<Act>(act), first, x.data(), size(x, 1), out.data(), n, pixels);
    else
      k.pointwise_floats(packed.op, static_cast<Act>(act), first, stored<Bf16>(x), size(x, 1), out.data(), n, pixels);
}

// Expansion (or none) and depthwise of x (H, W, C); the rows are asked for in strips of `strip`.
template <class T>
static void block_rows(const std::string& name, MapIn<T> x, std::optional<In> w, std::optional<In> b, In dw, In db, int act,
                       int depthwise_act, long stride, long dilation, bool same, long strip, Map<T> out, Out sums) {
  const MapKernels<T>& k = kernels_for<T>(name);
  const long channels = size(dw, 0), kernel = size(dw, 1);
  require(channels % 8 == 0 && (kernel == 3 || kernel == 5) && size(db, 0) == channels && strip >= 1, "block: depthwise");
  PackedPointwiseOf<T> expand;
  if (w) expand = packed_for<T>(name, *w, b.value(), size(x, 2));
  require((w ? size(*w, 0) : size(x, 2)) == channels, "block: expansion");
  const PackedDepthwise depthwise(dw.data(), db.data(), channels, kernel, stride, dilation, k.panel);
  const Geometry g = geometry({size(x, 0), size(x, 1), 0}, kernel, stride, dilation, same);
  require(size(out, 0) == g.out_height && size(out, 1) == g.out_width && size(out, 2) == channels &&
              size(sums, 0) == channels, "block: out");
  Buffer work(k.block_work(depthwise.op, g));
  for (long first = 0; first < channels; first += k.panel) {
    BlockState state;
    for (long y = 0; y < g.out_height; y += strip) {
      BlockRowsOf<T> op{expand.op, depthwise.op, static_cast<Act>(act), static_cast<Act>(depthwise_act), g, first,
                        stored<T>(x), size(x, 2), stored<T>(out) + y * g.out_width * channels + first, channels,
                        sums.data(), work.get(), y, std::min(y + strip, g.out_height)};
      k.block_rows(op, state);
    }
  }
}

template <class T>
static void stem(const std::string& name, Picture x, long planes, long height, long width, In w, In b, int act,
                 long stride, bool same, Map<T> out) {
  const MapKernels<T>& k = kernels_for<T>(name);
  const long n = size(b, 0);
  require(n % 8 == 0 && size(w, 0) == n && size(w, 1) == planes && size(w, 2) == 3 && size(w, 3) == 3, "stem: weights");
  const StemStep<T> step(w.data(), b.data(), n, planes, stride, static_cast<Act>(act), same);
  const Geometry g = geometry({height, width, 0}, 3, stride, 1, same);
  require(size(out, 0) == g.out_height && size(out, 1) == g.out_width && size(out, 2) == n, "stem: out");
  Buffer work(k.stem_work(step.op(), g));
  for (long row = 0; row < g.out_height; row++)
    k.stem_row(step.op(), static_cast<Act>(act), g, x, row, stored<T>(out) + row * g.out_width * n, work.get());
}

template <class T>
static void stem_floats(const std::string& name, In x, In w, In b, int act, long stride, bool same, Map<T> out) {
  Picture picture;
  picture.floats = x.data();
  stem<T>(name, picture, size(x, 0), size(x, 1), size(x, 2), w, b, act, stride, same, out);
}

static void stem_bytes(const std::string& name, ByteIn x, In table, In w, In b, int act, long stride, bool same,
                       Out out) {
  require(size(table, 0) == size(x, 2) && size(table, 1) == 256, "stem: table");
  Picture picture;
  picture.bytes = x.data(), picture.table = table.data();
  stem<float>(name, picture, size(x, 2), size(x, 0), size(x, 1), w, b, act, stride, same, out);
}

template <class T>
static void scale(const std::string& name, Map<T> x, In gate, int act) {
  require(size(x, 1) % 8 == 0 && size(gate, 0) == size(x, 1), "scale: shapes");
  kernels_for<T>(name).scale(stored<T>(x), gate.data(), size(x, 1), size(x, 0), static_cast<Act>(act));
}

// w: (k / GROUP, width, GROUP), as packed.
template <class T>
static void scale_panel(const std::string& name, Map<T> out, MapIn<T> w, In gate) {
  require(size(w, 1) % 8 == 0 && size(w, 2) == GROUP<T> && size(gate, 0) == size(w, 0) * GROUP<T> && out.size() == w.size(),
          "scale_panel: shapes");
  kernels_for<T>(name).scale_panel(stored<T>(out), stored<T>(w), gate.data(), size(gate, 0), size(w, 1));
}

template <class T>
static void mean(const std::string& name, MapIn<T> x, long top, long left, long rows, long columns, Out out) {
  const long channels = size(x, 2), row = size(x, 1) * channels;
  require(top >= 0 && left >= 0 && rows >= 1 && columns >= 1 && top + rows <= size(x, 0) && left + columns <= size(x, 1) &&
              channels % 8 == 0 && size(out, 0) == channels, "mean: shapes");
  kernels_for<T>(name).mean(stored<T>(x) + top * row + left * channels, channels, rows, columns, row, out.data());
}

static void to_halves(const std::string& name, In x, Map<Bf16> out) {
  require(x.size() % 8 == 0 && out.size() == x.size(), "to_halves: shapes");
  kernels_for<Bf16>(name);
  level(name).bf16->to_halves(x.data(), static_cast<long>(x.size()), stored<Bf16>(out));
}

static void h_sigmoid(const std::string& name, Out x) {
  require(x.size() % 8 == 0, "h_sigmoid: a multiple of 8");
  level(name).kernels->h_sigmoid(x.data(), static_cast<long>(x.size()));
}

// x (h, w, C) resized to the size of out (H, W, C), and combined with it by call(down, across, row, row of out).
template <class T, class Call>
static void resized_onto(In x, bool align_corners, Map<T> out, const Call& call) {
  const long channels = size(x, 2);
  require(channels % 8 == 0 && size(out, 2) == channels && x.size() > 0, "upsample: channels");
  const Resize down(size(x, 0), size(out, 0), align_corners), across(size(x, 1), size(out, 1), align_corners);
  for (long row = 0; row < size(out, 0); row++)
    call(down.axis(), across.axis(), row, stored<T>(out) + row * size(out, 1) * channels);
}

static void upsample_add(const std::string& name, In x, bool align_corners, int act, Out out) {
  resized_onto<float>(x, align_corners, out, [&](const Axis& down, const Axis& across, long row, float* to) {
    level(name).kernels->upsample_add_row(down, across, row, x.data(), size(x, 1), size(x, 2), static_cast<Act>(act), to);
  });
}

template <class T>
static void upsample_multiply(const std::string& name, In x, bool align_corners, Map<T> out) {
  resized_onto<T>(x, align_corners, out, [&](const Axis& down, const Axis& across, long row, T* to) {
    kernels_for<T>(name).upsample_multiply_row(down, across, row, x.data(), size(x, 1), size(x, 2), to);
  });
}

// x (h, w, C) as planes of `used` channels.
static Buffer planes_of(In x, long used) {
  require(size(x, 2) % 8 == 0 && used >= 1 && used <= size(x, 2) && x.size() > 0, "upsample: channels");
  const Shape shape{size(x, 0), size(x, 1), size(x, 2)};
  Buffer planes(used * shape.pixels());
  to_planes(x.data(), shape, used, 0, shape.height, planes.get());
  return planes;
}

static void upsample_planes(const std::string& name, In x, bool align_corners, Out out) {
  Buffer planes = planes_of(x, size(out, 0)), work(scores_work(size(out, 0), size(x, 1)));
  const Resize down(size(x, 0), size(out, 1), align_corners), across(size(x, 1), size(out, 2), align_corners);
  for (long row = 0; row < size(out, 1); row++)
    level(name).kernels->upsample_planes_row(down.axis(), across.axis(), row, planes.get(), size(x, 0), size(x, 1), size(out, 0),
                                    out.data(), work.get());
}

static void upsample_mask(const std::string& name, In x, long used, bool align_corners, Bytes out) {
  Buffer planes = planes_of(x, used), work(scores_work(used, size(x, 1)));
  const Resize down(size(x, 0), size(out, 0), align_corners), across(size(x, 1), size(out, 1), align_corners);
  for (long row = 0; row < size(out, 0); row++)
    level(name).kernels->upsample_mask_row(down.axis(), across.axis(), row, planes.get(), size(x, 0), size(x, 1), used,
                                  out.data() + row * size(out, 1), work.get());
}

template <class T>
static long multiply_adds(const std::string& name, long rounds) {
  float sum[16] = {};
  return kernels_for<T>(name).multiply_adds(rounds, sum);
}

template <class T>
static void bind_map_kernels(nb::module_ m) {
  m.def("pointwise", pointwise<T>, "level"_a, "x"_a, "w"_a, "b"_a, "act"_a, "out"_a.noconvert(), "residual"_a = nb::none());
  m.def("block_rows", block_rows<T>, "level"_a, "x"_a, "w"_a.none(), "b"_a.none(), "dw"_a, "db"_a, "act"_a,
        "depthwise_act"_a, "stride"_a, "dilation"_a, "same"_a, "strip"_a, "out"_a.noconvert(), "sums"_a.noconvert());
  m.def("stem_row", stem_floats<T>, "level"_a, "x"_a, "w"_a, "b"_a, "act"_a, "stride"_a, "same"_a, "out"_a.noconvert());
  m.def("scale", scale<T>, "level"_a, "x"_a.noconvert(), "gate"_a, "act"_a);
  m.def("scale_panel", scale_panel<T>, "level"_a, "out"_a.noconvert(), "w"_a, "gate"_a);
  m.def("mean", mean<T>, "level"_a, "x"_a, "top"_a, "left"_a, "rows"_a, "columns"_a, "out"_a.noconvert());
  m.def("upsample_multiply_row", upsample_multiply<T>, "level"_a, "x"_a, "align_corners"_a, "out"_a.noconvert());
  m.def("multiply_adds", multiply_adds<T>, "level"_a, "rounds"_a);
}

void bind_kernels(nb::module_ m) {
  bind_map_kernels<float>(m);
  m.def("stem_row_bytes", stem_bytes, "level"_a, "x"_a, "table"_a, "w"_a, "b"_a, "act"_a, "stride"_a, "same"_a,
        "out"_a.noconvert());
  m.def("h_sigmoid", h_sigmoid, "level"_a, "x"_a.noconvert());
  m.def("upsample_add_row", upsample_add, "level"_a, "x"_a, "align_corners"_a, "act"_a, "out"_a.noconvert());
  m.def("upsample_planes_row", upsample_planes, "level"_a, "x"_a, "align_corners"_a, "out"_a.noconvert());
  m.def("upsample_mask_row", upsample_mask, "level"_a, "x"_a, "used"_a, "align_corners"_a, "out"_a.noconvert());
  nb::module_ bf16 = m.def_submodule("bf16", "those of maps of halves");
  bind_map_kernels<Bf16>(bf16);
  bf16.def("pointwise_floats", to_floats<MapIn<Bf16>>, "level"_a, "x"_a, "w"_a, "b"_a, "act"_a, "out"_a.noconvert());
  bf16.def("linear", to_floats<In>, "level"_a, "x"_a, "w"_a, "b"_a, "act"_a, "out"_a.noconvert());
  bf16.def("to_halves", to_halves, "level"_a, "x"_a, "out"_a.noconvert());
}
