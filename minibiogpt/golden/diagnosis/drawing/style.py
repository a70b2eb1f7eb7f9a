"""The styles of the page of a diagnosis, beside those of the page of a check."""

STYLE = """
:root { --box: #e4e7eb; --passed: #f6dfbd; --edge: #767676; --on: #ffffff; --lost: #b3261e; --c0: #0b5cad;
  --c1: #7a3fa0; --c2: #8a5a00; --c3: #00695c; --c4: #a8326e; --c5: #4d5b00; --mine: var(--edge); }
@media (prefers-color-scheme: dark) { :root { --box: #363c44; --passed: #57462c; --edge: #9a9a9a; --on: #111111;
  --lost: #ff8a80; --c0: #7cc0ff; --c1: #d3a8f7; --c2: #f0bf5a; --c3: #5fd3c0; --c4: #ff9ecb; --c5: #c7d65a; } }
body { max-width: 92rem; }
main { display: flex; flex-wrap: wrap; gap: 0 2.5rem; align-items: flex-start; }
header, .kit-cases { flex: 1 1 100%; min-width: 0; }
.why { flex: 1 1 34rem; min-width: 0; }
.pass { flex: 0 1 auto; min-width: 0; } .pass > p, .pass > h2 { width: 0; min-width: 100%; }
h3 { font-size: 1rem; margin: 0 0 .3rem; } .calls h3 { font-size: .9rem; margin: .7rem 0 .2rem; }
a { color: var(--c0); } code { font-size: .92em; } summary { cursor: pointer; }
:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
.c0 { --mine: var(--c0); } .c1 { --mine: var(--c1); } .c2 { --mine: var(--c2); } .c3 { --mine: var(--c3); }
.c4 { --mine: var(--c4); } .c5 { --mine: var(--c5); } .unexplained, .lost { --mine: var(--lost); }
.cause { border-left: 5px solid var(--mine); padding: .1rem 0 .1rem .9rem; margin: .9rem 0; max-width: 62rem; }
.badge { display: inline-block; min-width: 1.3rem; padding: 0 .25rem; margin-right: .5rem; border-radius: .2rem;
  text-align: center; background: var(--mine); color: var(--on); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem .9rem; margin: .4rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
@media (max-width: 34rem) { dl { display: block; } dd { margin-bottom: .3rem; } }
details.case { border-top: 1px solid var(--line); padding: .5rem 0; } details.case > summary { font-weight: 600; }
details.rows { margin: .6rem 0; }
.calls { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; } .calls > section { min-width: 0; max-width: 100%; }
.graph { display: flex; width: max-content; max-width: 100%; overflow-x: auto; margin: .5rem 0; }
.graph svg { flex: none; }
.graph svg.labels { position: sticky; left: 0; background: var(--paper); z-index: 1; }
.line { fill: none; stroke: var(--edge); } .tip { fill: var(--edge); }
svg .ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.box rect { fill: var(--paper); stroke: var(--edge); stroke-dasharray: 2 2; }
.box.between rect { stroke: var(--mine); stroke-width: 1.5; }
.box.agrees rect, .box.accepted rect { fill: var(--box); stroke: none; }
.box.inherited rect { fill: var(--passed); stroke: none; }
.box.explained rect, .box.unexplained rect { fill: var(--mine); stroke: none; }
svg .box text { font-weight: 600; fill: var(--on); }
svg .box.inherited text, svg .box.accepted text, svg .box.between text { fill: var(--ink); }
svg .box:hover rect { stroke: var(--ink); stroke-width: 2; stroke-dasharray: none; }
.agrees, .accepted { background: var(--box); } .inherited { background: var(--passed); }
.explained, .unexplained { background: var(--mine); color: var(--on); }
.key b { display: inline-block; box-sizing: border-box; min-width: 1.1rem; height: 1.1rem; margin-right: .4rem;
  border-radius: .15rem; font: 600 11px/1.1rem system-ui, sans-serif; text-align: center; vertical-align: middle; }
.key b.absent, .key b.between { border: 1px dashed var(--mine); } .key b.ringed { border: 1.5px solid var(--ink); }
table.kit td, table.kit th { line-height: 1.25; }
table.kit thead th { height: 9.5rem; padding: .2rem 0; vertical-align: bottom; background: none; font-weight: 400; }
table.kit thead th span { writing-mode: vertical-rl; transform: rotate(180deg); }
table.kit th[scope="row"] { position: sticky; left: 0; z-index: 1; background: var(--paper); font-weight: 400; }
td.cell { min-width: 1.1rem; font-weight: 600; text-align: center; padding: .1rem .2rem;
  border: 2px solid var(--paper); }
td.between, td.absent { outline: 1px dashed var(--mine); outline-offset: -4px; }
td.state span { display: inline-block; min-width: 1.1rem; border-radius: .15rem; text-align: center; }
@media print { .graph { zoom: var(--fit); } .graph, .wide { overflow: visible; }
  .cause, .calls > section { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
