"""The HTML page of an executed notebook: nbconvert's own, with alternative texts, which it leaves
out, and room on a telephone.
"""

import sys
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter

import publish

PAGE = """
{%- extends "lab/index.html.j2" -%}

{%- block html_head_css -%}
{{ super() }}
<style>
  main { max-width: 66rem; margin: auto; }
  .jp-RenderedHTMLCommon { overflow-x: auto; line-height: 1.5; }
  .jp-RenderedHTMLCommon img, .jp-RenderedImage img { max-width: 100%; height: auto; }
  mjx-container, .MathJax_Display { overflow: auto hidden; max-width: 100%; }
  @media (max-width: 50rem) {
    body.jp-Notebook, .jp-Cell { padding: 0.3rem; }
    .jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser { display: none; }
    .jp-OutputArea-output, .jp-InputArea-editor { min-width: 0; }
  }
</style>
{%- endblock -%}

{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output">
  <img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
       alt="{{ output | get_metadata('alt', 'image/png') | escape_html }}">
</div>
{%- endblock -%}
"""


def write_page(path: Path) -> Path:
    """The page of an executed notebook, beside it."""
    loaders, name = [DictLoader({"page.html.j2": PAGE})], "page.html.j2"
    exporter = HTMLExporter(template_file=name, extra_loaders=loaders, embed_images=True)
    notebook = publish.clean(nbformat.read(path, as_version=4))
    for cell in notebook.cells:  # nbconvert puts only pictures below its folder into the page
        cell.source = cell.source.replace("](../readme_image/", "](readme_image/")
    about = {"metadata": {"name": path.stem, "path": str(publish.ROOT)}}
    page, _ = exporter.from_notebook_node(notebook, about)
    place = path.with_suffix(".html")
    place.write_text(page, encoding="utf-8")
    return place


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(write_page(Path(argument)))
