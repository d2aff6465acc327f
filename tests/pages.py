"""What `make run` does last: `python tests/pages.py build/*.ipynb` writes an HTML page beside each executed notebook,
with its pictures inside, an alternative text for each, room for them on a telephone, and equations that need no web.
"""

import sys
from html import escape
from pathlib import Path

import nbconvert.exporters.html
import nbformat
from jinja2 import DictLoader
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer

from publish import clean

# nbconvert's own page, but for four things: it leaves out the alternative texts, keeps a column for prompts on narrow
# screens, lets a wide table push the page's edge, and loads scripts from the web: for equations, controls, diagrams.
PAGE = """
{%- extends "lab/index.html.j2" -%}

{%- block html_head_css -%}
{{ super() }}
<style>
  main { max-width: 66rem; margin: auto; }
  .jp-RenderedHTMLCommon { overflow-x: auto; line-height: 1.5; }
  .equation { display: block; overflow: auto hidden; }
  math { font-size: 1.1em; }
  math .braced { border-bottom: 1px solid; padding-bottom: 0.2em; }
  mtext[mathvariant=monospace] { font-family: monospace; font-size: 0.9em; }
  .jp-RenderedHTMLCommon img, .jp-RenderedImage img { max-width: 100%; height: auto; }
  @media (max-width: 50rem) {
    body.jp-Notebook, .jp-Cell { padding: 0.3rem; }
    .jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser { display: none; }
    .jp-OutputArea-output, .jp-InputArea-editor { min-width: 0; }
  }
</style>
{%- endblock -%}

{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}

{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output">
  <img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
       alt="{{ output | get_metadata('alt', 'image/png') | escape_html }}">
</div>
{%- endblock -%}
"""

# What the converter leaves to chance: spaces around a logarithm, bars that stand free, and braces below a term, which
# few of the fonts that browsers find can draw: a line takes their place.
TIDIED = {
    "<mi>log</mi>": '<mo lspace="0.17em" rspace="0.17em">log</mo>',
    "<mo>&#x02016;</mo>": '<mo stretchy="false" lspace="0" rspace="0">&#x02016;</mo>',
    '<mo stretchy="false">&#x0007C;</mo>': '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>',
    "<munder><munder><mrow>": '<munder><mrow class="braced">',
    "<mo>&#x23DF;</mo></munder>": "",
}


def set_equation(tex: str, display: str) -> str:
    """An equation in MathML, `display` being "inline" or "block"; one that cannot be converted stays as it is."""
    try:
        mathml = convert(tex.replace(r"\arg\min", r"\argmin"), display=display)
    except Exception:
        mathml = "\\"
    if "\\" in mathml:  # a command that the converter does not know
        return f"<code>{escape(tex)}</code>"
    for old, new in TIDIED.items():
        mathml = mathml.replace(old, new)
    return f'<span class="equation">{mathml}</span>' if display == "block" else mathml


class Renderer(IPythonRenderer):
    """nbconvert's, which leaves equations to a script from the web."""

    def block_math(self, body: str) -> str:
        return set_equation(body, "block")

    def inline_math(self, body: str) -> str:
        return set_equation(body, "inline")


nbconvert.exporters.html.IPythonRenderer = Renderer  # there is no setting for it


def write_page(path: Path) -> Path:
    """The page of an executed notebook, beside it."""
    exporter = HTMLExporter(
        template_file="page.html.j2", extra_loaders=[DictLoader({"page.html.j2": PAGE})], embed_images=True
    )
    notebook = clean(nbformat.read(path, as_version=4))
    for cell in notebook.cells:  # nbconvert puts only pictures below its folder into the page
        cell.source = cell.source.replace("](../readme_image/", "](readme_image/")
    about = {"metadata": {"name": path.stem, "path": str(path.resolve().parents[1])}}
    page, _ = exporter.from_notebook_node(notebook, about)
    place = path.with_suffix(".html")
    place.write_text(page, encoding="utf-8")
    return place


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(write_page(Path(argument)))
