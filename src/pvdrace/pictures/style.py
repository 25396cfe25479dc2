"""How the page of a race looks: on a desk, on a phone, by night, on paper. Pure."""

from __future__ import annotations

from .colours import variables
from .strokes import CSS

_PAGE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;padding:1.5rem 1rem 3rem;max-width:72rem;background:var(--ground);color:var(--ink);
font:1rem/1.5 system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}
h2{font-size:1.15rem;margin:2.25rem 0 .5rem}
h3{font-size:1rem;margin:0}
p{margin:.25rem 0}
code,pre,.address{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:.875em}
.quiet{color:var(--muted)}.good{color:var(--won)}.bad{color:var(--failed)}
.verdict{font-size:1.1rem;font-weight:600}
h1,h3,.verdict{overflow:hidden;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:4}
.skip{position:absolute;left:-999rem}
.skip:focus{position:static}
:focus-visible{outline:3px solid var(--lookup);outline-offset:2px;border-radius:4px}
.unseen{position:absolute;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);
white-space:nowrap}
"""
_WATERFALL = """
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin:.5rem 0;padding:0;
font-size:.875rem;color:var(--muted)}
.legend svg{width:28px;height:12px;vertical-align:-1px;margin-right:.4rem;overflow:visible}
.lanes{list-style:none;margin:0;padding:0}
.axis,.row{display:grid;grid-template-columns:min(14rem,22%) minmax(0,1fr) 4.5rem min(12rem,20%);
column-gap:.75rem;align-items:center;padding:0 .5rem}
.axis{color:var(--muted);font-size:.8rem}
.axis svg{grid-column:2;height:18px}
.axis text{fill:var(--muted);font-size:12px}
.mid{text-anchor:middle}
svg.track{display:block;width:100%;height:24px;overflow:visible}
.lane{background:var(--panel);border-radius:8px;padding:.5rem 0;margin:0 0 .5rem}
.head{position:relative;display:flex;flex-wrap:wrap;align-items:baseline;gap:0 .75rem;padding:0 .5rem .15rem}
.badge{font-size:.8rem;font-weight:600}
.rows{list-style:none;margin:0;padding:0}
.row{position:relative;font-size:.9rem;min-height:24px}
.row:hover{background:var(--ground)}
.row.won,.row.won:hover{background:var(--glow)}
.took{text-align:right;color:var(--muted);font-variant-numeric:tabular-nums;white-space:nowrap}
.row.cancelled .what,.row.idle .what,.row.skipped .what{color:var(--muted)}
.tip{display:none;position:absolute;z-index:1;top:100%;left:.5rem;right:.5rem;max-width:44rem;width:fit-content;
padding:.5rem .75rem;background:var(--ink);color:var(--ground);border-radius:6px;font-size:.85rem;
font-weight:400}
.row:hover>.tip,.row:focus>.tip,.head:hover>.tip,.head:focus>.tip,.gone:hover>.tip,
.gone:focus>.tip{display:block}
.out{list-style:none;margin:.75rem 0 0;padding:0}
.gone{position:relative;padding:.15rem .5rem}
.note,.what{overflow:hidden;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3}
"""
_TABLES = """
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;color:var(--muted);padding-bottom:.35rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--rule)}
th[scope=row]{min-width:5rem}
thead th{color:var(--muted);font-weight:600;white-space:nowrap}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
ul.plain{list-style:none;margin:0;padding:0}
pre{overflow-x:auto;background:var(--panel);border-radius:8px;padding:.75rem;line-height:1.45}
footer{margin-top:2.5rem;border-top:1px solid var(--rule);padding-top:.5rem;font-size:.85rem;
color:var(--muted)}
"""
_PHONE = """
@media (max-width:64rem){.axis .minor{display:none}}
@media (max-width:48rem){
body{padding:1rem .6rem 2rem}
h1{font-size:1.3rem}
.axis{grid-template-columns:1fr}.axis svg{grid-column:1}
.row{grid-template-columns:minmax(0,1fr) minmax(0,1fr) minmax(3.6rem,auto);padding:.1rem .5rem .3rem}
.row .track{grid-column:1/-1;grid-row:2}
.row .what,.row .note,.row .took{grid-row:1}
.row .note{grid-column:2;text-align:right}.row .took{grid-column:3}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,caption,tbody,tr,th[scope=row],td{display:block}
tr{border-bottom:1px solid var(--rule);padding:.4rem 0}
th[scope=row],td,td.number{border:0;padding:.05rem 0;text-align:left;white-space:normal}
td:empty{display:none}
td[data-name]::before{content:attr(data-name) ": ";content:attr(data-name) ": "/"";color:var(--muted)}
}
"""
_PAPER = """
@media print{
body{max-width:none;padding:0;font-size:10pt}
.lane,tr,figure{break-inside:avoid}
h2{break-after:avoid}
.tip,.skip{display:none!important}
.lane{border:1px solid var(--rule)}
pre{white-space:pre-wrap}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
@media (forced-colors:active){.lane{border:1px solid CanvasText}.tip{border:1px solid CanvasText}}
"""


def sheet() -> str:
    """The whole style sheet. Paper is always light."""
    screen = f"@media screen{{{variables(':root')}}}@media print{{{variables(':root', 'light')}}}"
    return screen + "".join((_PAGE, _WATERFALL, _TABLES, _PHONE, _PAPER)).replace("\n", "") + CSS
