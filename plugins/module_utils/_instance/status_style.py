# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The style sheet of the status page, for light and dark screens, phones and paper.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

# Colours have a contrast of 4.5 to their ground. Lines differ in their dashes too.
STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --text: #1b2430; --soft: #55606e; --rule: #d5dae1;
  --bad: #b3261e; --bad-ground: #fdecea; --attention: #7a4b00; --attention-ground: #fff3d6;
  --fine: #146c2e; --fine-ground: #e3f4e7; --link: #0b57d0;
  --l0: #0b57d0; --l1: #b3500c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161c; --card: #1b2129; --text: #e6eaf0; --soft: #a3adba; --rule: #39424e;
    --bad: #ffb4ab; --bad-ground: #4a1512; --attention: #ffd58a; --attention-ground: #40300a;
    --fine: #9be3ae; --fine-ground: #12381f; --link: #a8c7fa;
    --l0: #8ab4f8; --l1: #ffb77c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--ground); color: var(--text);
  font: 1rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
h1 { margin: 0; font-size: 1.5rem; }
h2 {
  margin: 0 0 .75rem; font-size: 1.3rem; display: flex; flex-wrap: wrap; gap: .6rem; align-items: center;
  overflow-wrap: anywhere;
}
h3 { margin: 1.4rem 0 .5rem; font-size: 1.05rem; }
header p, .why { color: var(--soft); }
header p { margin: .2rem 0 1rem; }
.why { margin: 0; overflow-wrap: anywhere; }
a { color: var(--link); }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.instance, .overview {
  background: var(--card); border: 1px solid var(--rule); border-radius: .6rem; padding: 1rem; margin: 0 0 1rem;
}
.badge { font-size: .85rem; font-weight: 600; padding: .1rem .55rem; border-radius: 1rem; white-space: nowrap; }
.bad.badge { color: var(--bad); background: var(--bad-ground); }
.attention.badge { color: var(--attention); background: var(--attention-ground); }
.absent.badge { color: var(--soft); background: var(--ground); }
.fine.badge { color: var(--fine); background: var(--fine-ground); }
.reasons { margin: 0 0 1rem; padding: .5rem .75rem .5rem 1.9rem; border-radius: .4rem; overflow-wrap: anywhere; }
.reasons.bad { background: var(--bad-ground); }
.reasons.absent { background: var(--ground); }
.reasons.attention { background: var(--attention-ground); }
dl { margin: 0; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); gap: .75rem 1.25rem; }
.cards dd + dd { color: var(--soft); font-size: .9rem; }
.facts dd { margin-bottom: .6rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); font-size: .85rem; padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-top: 1px solid var(--rule); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: .85rem; white-space: nowrap; }
tbody th { font-weight: 600; }
.overview td { white-space: nowrap; }
.overview td:last-child { white-space: normal; overflow-wrap: anywhere; }
td > code, th > code { white-space: nowrap; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 1.2rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .95rem; }
figure > svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--rule); stroke-width: 1; fill: none; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.l0 { stroke: var(--l0); }
.l1 { stroke: var(--l1); stroke-dasharray: 5 3.5; }
.legend { list-style: none; margin: .1rem 0 0; padding: 0; font-size: .85rem; color: var(--soft); }
.key { width: 24px; height: 8px; margin-right: .4rem; vertical-align: middle; }
@media (max-width: 44rem) {
  body { padding: .6rem; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, th, td, caption { display: block; }
  tr { border-top: 1px solid var(--rule); padding: .5rem 0; }
  th, td { border: 0; padding: .1rem 0; overflow-wrap: anywhere; }
  td > code, th > code, .overview td { white-space: normal; }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); }
  .empty { display: none; }
}
@media print {
  :root {
    color-scheme: light;
    --ground: #ffffff; --card: #ffffff; --text: #000000; --soft: #444444; --rule: #bbbbbb;
    --bad: #8c1d18; --bad-ground: #ffffff; --attention: #5c3900; --attention-ground: #ffffff;
    --fine: #0d4f20; --fine-ground: #ffffff; --link: #000000; --l0: #0b57d0; --l1: #b3500c;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .instance, .scroll { overflow: visible; }
  .instance, .badge { border: 1px solid var(--rule); }
  figure, tr, .cards > div { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
