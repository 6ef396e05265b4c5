// Python's view of the engine: build a plan layer by layer, prepare it for a size, run it.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <nanobind/stl/pair.h>

#include "steps.h"

namespace nb = nanobind;
using namespace hswish;

typedef nb::ndarray<const float, nb::c_contig, nb::device::cpu> Array;

static const Kernels& level(const std::string& name) {
#if defined(HSWISH_X86)
  if (name == "avx512") return avx512::table;
  if (name == "avx2") return avx2::table;
#endif
  if (name == "generic") return generic::table;
  throw std::invalid_argument("no kernels for " + name);
}

static Act act_of(const std::string& name) {
  return name == "relu" ? Act::relu : name == "hard_swish" ? Act::hard_swish : Act::none;
}

NB_MODULE(_engine, m) {
  nb::class_<Plan>(m, "Plan")
      .def("__init__", [](Plan* self, const std::string& name, int threads) { new (self) Plan(level(name), threads); })
      .def("stem", [](Plan& plan, Array w, Array b, long stride, const std::string& act, bool same) {
        return plan.add(std::make_unique<StemStep>(w.data(), b.data(), w.shape(0), w.shape(1), stride, act_of(act), same));
      })
      .def("block", [](Plan& plan, int input, nb::object expand, std::pair<Array, Array> depthwise, nb::object se, std::pair<Array, Array> project,
                       long stride, long dilation, const std::string& act, bool residual, bool same, nb::object stem) {
        auto step = std::make_unique<BlockStep>();
        const long panel = plan.kernels.panel;
        const auto pack = [&](const std::pair<Array, Array>& p) {
          return PackedPointwise(p.first.data(), p.second.data(), p.first.shape(0), p.first.shape(1), panel);
        };
        if (!expand.is_none()) step->expand = pack(nb::cast<std::pair<Array, Array>>(expand));
        const auto& [w, b] = depthwise;
        step->depthwise = PackedDepthwise(w.data(), b.data(), w.shape(0), w.shape(2), stride, dilation, panel);
        if (!se.is_none()) {
          auto parts = nb::cast<std::pair<std::pair<Array, Array>, std::pair<Array, Array>>>(se);
          step->se = std::make_unique<SqueezeExcite>();
          step->se->reduce = pack(parts.first);
          step->se->expand = pack(parts.second);
        }
        step->project = pack(project);
        step->act = act_of(act), step->residual = residual, step->same = same;
        if (stem.is_none()) {
          step->inputs = {input};
        } else {
          auto [sw, sb, s, a] = nb::cast<std::tuple<Array, Array, long, std::string>>(stem);
          step->stem = std::make_unique<StemStep>(sw.data(), sb.data(), sw.shape(0), sw.shape(1), s, act_of(a), same);
        }
        return plan.add(std::move(step));
      }, nb::arg("input"), nb::arg("expand").none(), nb::arg("depthwise"), nb::arg("se").none(), nb::arg("project"), nb::arg("stride"), nb::arg("dilation"), nb::arg("act"), nb::arg("residual"), nb::arg("same"), nb::arg("stem").none() = nb::none())
      .def("pointwise", [](Plan& plan, int input, Array w, Array b, const std::string& act) {
        auto step = std::make_unique<PointwiseStep>();
        step->weights = PackedPointwise(w.data(), b.data(), w.shape(0), w.shape(1), plan.kernels.panel);
        step->act = act_of(act);
        step->inputs = {input};
        return plan.add(std::move(step));
      })
      .def("mean", [](Plan& plan, int input) {
        auto step = std::make_unique<MeanStep>();
        step->inputs = {input};
        return plan.add(std::move(step));
      })
      .def("prepare", &Plan::prepare)
      .def("answer", [](Plan& plan, int input, long used) {
        auto step = std::make_unique<AnswerStep>(used);
        step->inputs = {input};
        return plan.add(std::move(step));
      })
      .def("gate", [](Plan& plan, int features, int gate) {
        auto step = std::make_unique<GateStep>();
        step->inputs = {features, gate};
        return plan.add(std::move(step));
      })
      .def("join", [](Plan& plan, int high, int low, bool align_corners) {
        auto step = std::make_unique<JoinStep>();
        step->align_corners = align_corners;
        step->inputs = {high, low};
        return plan.add(std::move(step));
      })
      .def("scores", [](Plan& plan, int input, long used, bool mask, bool align_corners) {
        auto step = std::make_unique<ScoresStep>(used, mask);
        step->align_corners = align_corners;
        step->inputs = {input};
        return plan.add(std::move(step));
      })
      .def("run", [](Plan& plan, Array x, nb::ndarray<nb::c_contig, nb::device::cpu> out) {
        nb::gil_scoped_release release;
        plan.run(x.data(), out.data());
      })
      .def("profile", [](Plan& plan, Array x, nb::ndarray<nb::c_contig, nb::device::cpu> out, int repeats) {
        std::vector<std::pair<std::string, double>> rows;
        auto times = plan.profile_ms(x.data(), out.data(), repeats);
        for (size_t i = 0; i < times.size(); i++) rows.emplace_back(plan.steps()[i]->name(), times[i]);
        return rows;
      })
      .def_prop_ro("arena_bytes", [](Plan& plan) { return plan.arena_floats() * 4; });
}
