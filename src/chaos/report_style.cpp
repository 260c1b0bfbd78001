// How the pages look, light, dark and printed.
#include "chaos/report_parts.hpp"

namespace hf::chaos {
namespace {

constexpr std::string_view kStyle = R"css(:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1b1f24; --quiet: #6a737d; --line: #e3e6ea; --band: #f6f7f9;
  --good: #18794e; --bad: #c62828; --warn: #9a6700; --fault: #d1242f; --pause: #f2b705;
  --e0: #0b6fb8; --e1: #0c8a62; --e2: #a8508c; --e3: #dd6b00; --e4: #4aa3d8; --e5: #8a6d00;
  --e6: #5b57c7; --e7: #7a4a2b; --eu: #8c959f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e4e7eb; --quiet: #98a1ab; --line: #2c3238; --band: #1b1f24;
    --good: #4cc38a; --bad: #ff6b63; --warn: #e3b341; --fault: #ff5c55; --pause: #d29a00;
    --e0: #58aef2; --e1: #3fc99a; --e2: #dd8bc3; --e3: #ff9f3f; --e4: #8fd0f7; --e5: #d3b94d;
    --e6: #9c98ff; --e7: #c9926b; --eu: #7d8590;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 20px 28px 60px; max-width: 1700px; background: var(--paper);
  color: var(--ink); font: 14px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 15px; margin: 26px 0 8px; }
a { color: var(--e0); } p { margin: 2px 0; } .title { font-size: 16px; }
.inside { max-width: 110ch; color: var(--quiet); }
.facts, .sub { color: var(--quiet); font-size: 12.5px; }
.badge { display: inline-block; padding: 1px 10px; border-radius: 4px; color: #fff;
  font-size: .72em; letter-spacing: .06em; text-transform: uppercase; vertical-align: 12%;
  font-weight: 700; }
.badge.pass { background: #18794e; } .badge.fail { background: #c62828; }
.badge.void { background: #9a6700; } td .badge { font-size: 11px; vertical-align: 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 14px 0 6px; }
.tile { border: 1px solid var(--line); border-radius: 6px; padding: 7px 14px; }
.tile b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--quiet); font-size: 12px; }
.tile.good b { color: var(--good); } .tile.bad b { color: var(--bad); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--quiet); font-weight: 500; font-size: 12.5px; }
th, td { padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.num { white-space: nowrap; } td.yes { color: var(--good); font-weight: 700; }
.no { color: var(--bad); font-weight: 700; } tr.failed td { background: #c6282818; }
.detail { color: var(--quiet); overflow-wrap: anywhere; }
.columns { display: flex; flex-wrap: wrap; gap: 0 48px; }
.mono td { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12px; }
#scenarios { width: 100%; } #scenarios a { font-weight: 600; }
details { margin-top: 18px; } summary { cursor: pointer; color: var(--quiet); }
pre { overflow-x: auto; background: var(--band); padding: 10px; font-size: 12px; }
#bar { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: center; margin: 14px 0 4px;
  font-size: 12.5px; color: var(--quiet); }
#bar .key { display: inline-flex; gap: 5px; align-items: center; }
#bar i { width: 12px; height: 12px; border-radius: 2px; display: inline-block; }
#bar button { font: inherit; color: var(--ink); background: var(--band); padding: 1px 9px;
  border: 1px solid var(--line); border-radius: 4px; cursor: pointer; }
#bar button.on { border-color: var(--e0); color: var(--e0); }
#plot svg { display: block; cursor: crosshair; user-select: none; }
#plot text { fill: var(--quiet); font-size: 11px; }
#plot .name { font-size: 9.5px; } #plot .name.bad { fill: var(--bad); }
#plot .mode { fill: var(--ink); } #plot .group { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--line); } .band { fill: var(--band); }
.life { stroke: var(--line); stroke-width: 1; } .wait { stroke: var(--quiet); stroke-width: 1;
  stroke-dasharray: 1 3; }
.lane path { fill: none; stroke-width: 1.1; }
.gap { fill: var(--pause); opacity: .4; } .gap.moved { opacity: .85; }
#plot .ms { font-size: 9px; fill: var(--ink); } #plot .callout { font-size: 11px;
  font-weight: 700; fill: var(--ink); paint-order: stroke; stroke: var(--paper);
  stroke-width: 4px; }
.fault { stroke: var(--fault); stroke-width: 1.6; } .fault.unproved { stroke-dasharray: 5 4; }
.span { fill: var(--fault); opacity: .09; } #plot .fname { fill: var(--fault); font-weight: 600; }
.over { fill: none; stroke: var(--bad); stroke-width: 1.8; } .over.gone { stroke: var(--quiet); }
.brush { fill: var(--e0); opacity: .16; } .cross { stroke: var(--quiet); stroke-width: .8; }
#tip { position: fixed; z-index: 9; pointer-events: none; max-width: 420px; padding: 7px 10px;
  background: var(--paper); color: var(--ink); border: 1px solid var(--quiet);
  border-radius: 5px; box-shadow: 0 3px 14px #0004; font-size: 12.5px; white-space: pre-line; }
#dists { display: flex; flex-wrap: wrap; gap: 6px 26px; margin-top: 10px; }
#dists text { fill: var(--quiet); font-size: 10px; } #dists .bars { fill: var(--e0); }
#dists .mark { stroke: var(--fault); stroke-width: 1; } #dists .axis { stroke: var(--line); }
@media print {
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { padding: 0; font-size: 11px; } #bar button, #tip { display: none; }
  section, tr { break-inside: avoid; } #chart { break-inside: auto; }
}
)css";

}  // namespace

std::string_view report_style() {
  return kStyle;
}

}  // namespace hf::chaos
