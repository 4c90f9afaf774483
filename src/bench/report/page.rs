//! The page around the charts: style for light and dark, and the few lines of script.

use super::words::escape;

pub(super) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>{title} - corelog bench</title>\n<style>{STYLE}</style>\n<main><header><h1>{title}</h1><p>corelog bench {}</p></header>\n{body}</main>\n<script>{SCRIPT}</script>\n",
        env!("CARGO_PKG_VERSION")
    )
}

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2230;--soft:#5d6778;--line:#e3e7ee;--heat:#b4460f;
--ok:#1a7f4b;--okbg:#e6f5ec;--bad:#b3261e;--badbg:#fdeceb;--warn:#8a5a00;--warnbg:#fdf3dd;
--c0:#2563c9;--c1:#d9680f;--c2:#12875f;--c3:#b3298d;--c4:#7a52c7;--c5:#0d8aa6;--c6:#94700a;--c7:#c2323f}
@media(prefers-color-scheme:dark){:root{--bg:#12151b;--card:#1a1f28;--ink:#e4e8ef;--soft:#98a3b5;--line:#2b323e;--heat:#ff9a4d;
--ok:#63d297;--okbg:#16301f;--bad:#ff8a80;--badbg:#3a1a19;--warn:#f0c060;--warnbg:#33290f;
--c0:#6ea8ff;--c1:#ffa14a;--c2:#4fd0a0;--c3:#f07cc9;--c4:#b79bff;--c5:#55cbe6;--c6:#d9b84a;--c7:#ff7f8a}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 60px}
header{display:flex;align-items:baseline;justify-content:space-between;gap:20px;flex-wrap:wrap}
h1{font-size:24px;margin:0 0 12px}header p{color:var(--soft);margin:0}
h2{font-size:18px;margin:34px 0 10px}
figure,.s{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;margin:0 0 16px}
.s{overflow-x:auto}
figcaption{font-weight:600}.n{color:var(--soft);margin:2px 0 6px;font-size:13.5px}
figure>svg{width:100%;height:auto;display:block}
.legend{display:flex;flex-wrap:wrap;gap:4px 14px;padding-left:7%}
.l{all:unset;cursor:pointer;display:inline-flex;align-items:center;gap:7px;font-size:13.5px;padding:2px 4px;border-radius:5px}
.l:focus-visible{outline:2px solid var(--c0)}.l.off{opacity:.35}.l svg{width:26px;height:10px}
.g{stroke:var(--line);stroke-width:1}.t{fill:var(--soft);font-size:12px}.a{fill:var(--soft);font-size:12.5px}
.m{stroke:var(--ink);stroke-width:1.3;stroke-dasharray:3 4;opacity:.7}
.mt{fill:var(--ink);font-size:12.5px;font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px}
.c{fill:none;stroke-width:2;stroke-linejoin:round}.d{stroke-dasharray:6 4;stroke-width:1.6}.p{stroke:var(--card);stroke-width:1.5}
.w{stroke-width:1.6;opacity:.75}.h{fill:var(--heat);shape-rendering:crispEdges}.hidden{display:none}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}.c6{stroke:var(--c6)}.c7{stroke:var(--c7)}
.f0,circle.c0{fill:var(--c0)}.f1,circle.c1{fill:var(--c1)}.f2,circle.c2{fill:var(--c2)}.f3,circle.c3{fill:var(--c3)}.f4,circle.c4{fill:var(--c4)}.f5,circle.c5{fill:var(--c5)}.f6,circle.c6{fill:var(--c6)}.f7,circle.c7{fill:var(--c7)}
circle.q{fill:var(--card);stroke-width:2}
.k{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:7px}
.k.f0{background:var(--c0)}.k.f1{background:var(--c1)}.k.f2{background:var(--c2)}.k.f3{background:var(--c3)}.k.f4{background:var(--c4)}.k.f5{background:var(--c5)}.k.f6{background:var(--c6)}.k.f7{background:var(--c7)}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
thead th{color:var(--soft);font-weight:600}tbody tr:last-child>*{border-bottom:0}
.r{text-align:right;white-space:nowrap}small{color:var(--soft)}
.facts th{font-weight:500;color:var(--soft);white-space:nowrap}.facts td{overflow-wrap:anywhere}
.differs td{background:var(--warnbg);color:var(--warn)}
.v{border-radius:10px;padding:9px 14px;margin:0 0 8px;border:1px solid}
.v ul{margin:4px 0 0;padding-left:20px}.v.ok{background:var(--okbg);color:var(--ok)}.v.bad{background:var(--badbg);color:var(--bad);font-weight:600}.v.warn{background:var(--warnbg);color:var(--warn)}
@media print{body{background:#fff}figure,.s{break-inside:avoid}}
";

/// Switches a curve on and off by its legend.
const SCRIPT: &str = "
for(const l of document.querySelectorAll('.l'))l.onclick=()=>{
const off=l.classList.toggle('off');
for(const s of l.closest('figure').querySelectorAll('svg .'+l.dataset.s))s.classList.toggle('hidden',off)}
";
