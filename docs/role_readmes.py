# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""README.md of every role, from its argument specifications. A test compares them with what is committed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import yaml

CLONE = Path(__file__).resolve().parents[1]
# Those of the collection, and those for developers.
ROLES = sorted(path for folder in ("roles", "dev/roles") for path in (CLONE / folder).iterdir() if path.is_dir())
TEMPLATE = """\
<!-- Written by docs/role_readmes.py from meta/argument_specs.yml; change that file, then run `make docs`. -->
# {{ collection }}.{{ role }}

{{ main.short_description }}.

{% for paragraph in main.description %}
{{ paragraph | plain }}

{% endfor %}
{% if shared %}
Needs the variables of [fastml.supersonic.supersonic](../supersonic/README.md) too: the name of the instance, its
namespace and how its cluster is reached.

{% endif %}
## Variables

{% for name, option in main.options.items() %}
- **`{{ name }}`** ({{ option | kind }}{% if option.required %}, required{% endif %})
  {{ option.description | plain }}
{% if option.choices %}
  One of {% for choice in option.choices %}`{{ choice | json }}`{{ ", " if not loop.last }}{% endfor %}.
{% endif %}
{% if "default" in option %}
  Default: `{{ option.default | json }}`.
{% endif %}
{% for key, part in (option.options or {}).items() %}
  - **`{{ key }}`** ({{ part | kind }}{% if part.required %}, required{% endif %}) {{ part.description | plain }}
{%- if part.choices %} One of {% for choice in part.choices %}`{{ choice }}`{{ ", " if not loop.last }}{% endfor %}.
{%- endif %}
{%- if "default" in part %} Default: `{{ part.default | json }}`.
{%- endif %}

{% endfor %}
{% endfor %}
{% if others %}

## Entry points

{% for name, entry in others.items() %}
- `tasks_from: {{ name }}`: {{ entry.short_description | plain }}.
{% endfor %}
{% endif %}

## Example

```yaml
- hosts: {{ "supersonic_instances" if instance else "supersonic_clusters" }}
  gather_facts: false
{% if example %}
  vars:
{% for name, value in example.items() %}
    {{ name }}: {{ value | json }}
{% endfor %}
{% endif %}
  roles:
    - role: {{ collection }}.{{ role }}
```

"""

# What the examples show of each role, and of the variables that they share; every required one is among them.
EXAMPLE: dict[str, Any] = {
    "supersonic_name": "tracking",
    "supersonic_namespace": "tracking",
    "benchmark_model": "particlenet",
    "model_repository_sources": ["/data/models"],
    "model_repository_image": "nvcr.io/nvidia/tritonserver:26.04-py3",
    "triton_image": "nvcr.io/nvidia/tritonserver:26.04-py3",
    "triton_model_repositories": [{"name": "models", "kind": "pvc", "claim": "tracking-models", "path": "current"}],
    "verify_golden_directories": ["/data/models"],
    "autoscaler_min_replicas": 1,
    "autoscaler_max_replicas": 8,
    "grafana_admin_secret": {"name": "grafana-admin"},
}


def plain(text: str | list[str]) -> str:
    """Ansible's markup as Markdown."""
    joined = " ".join(text) if isinstance(text, list) else text
    joined = re.sub(r"O\(fastml\.supersonic\.\w+#module:([^)]+)\)", r"`\1`", joined)
    return re.sub(r"[COVEMP]\(([^()]*(?:\([^()]*\)[^()]*)*)\)", r"`\1`", joined).strip()


def kind(option: dict[str, Any]) -> str:
    """Type, with that of the items of a list."""
    return f"list of {option['elements']}" if option.get("elements") else str(option["type"])


def as_json(value: Any) -> str:
    """A value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10000, sort_keys=False).replace("\n...", "").strip()


def render(role: Path) -> str:
    """The text of a role's README."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.ChainableUndefined)
    environment.filters.update(plain=plain, kind=kind, json=as_json)
    entries = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    dependencies = yaml.safe_load((role / "meta/main.yml").read_text()).get("dependencies") or []
    # A role of clusters has nothing to do with what instances are called.
    instance = bool(dependencies) or role.name == "supersonic"
    prefixes = (f"{role.name}_", *(["supersonic_"] if instance else []))
    return environment.from_string(TEMPLATE).render(
        role=role.name,
        collection="fastml.supersonic_dev" if "dev" in role.parts else "fastml.supersonic",
        instance=instance,
        example={name: value for name, value in EXAMPLE.items() if name.startswith(prefixes)},
        main=entries["main"],
        shared=bool(dependencies),
        others={name: entry for name, entry in entries.items() if name != "main"},
    )


def main() -> None:
    """Write them all."""
    for role in ROLES:
        (role / "README.md").write_text(render(role))


if __name__ == "__main__":
    main()
