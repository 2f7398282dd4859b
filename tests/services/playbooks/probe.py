# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module that does what it is told, right and wrong."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

SPEC = {
    "act": {"type": "str", "default": "tell"},
    "text": {"type": "str", "default": "nothing"},
    "secret": {"type": "str", "no_log": True},
    "path": {"type": "path"},
    "things": {"type": "list", "elements": "raw", "default": []},
}


def ended(*_arguments: object) -> None:
    raise InterruptedError("It was ended.")


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    act, text = module.params["act"], module.params["text"]
    told = {
        "changed": not module.check_mode,
        # The one thing that may differ.
        "here": __name__ != "__main__",
        "params": dict(module.params),
        "name": module._name,
        "verbosity": module._verbosity,
        "version": module.ansible_version,
        "directory": os.getcwd(),
        "environment": os.environ.get("PROBE", ""),
        "input": sys.stdin.read() if act == "read" else "",
    }
    if module._diff:
        told["diff"] = {"before": "one\n", "after": "two\n"}
    if act == "warn":
        module.warn(f"Mind {text}.")
        module.deprecate(f"Leave {text}.", version="9.0.0", collection_name="fastml.supersonic")
    if act == "scratch":
        Path(module.tmpdir, "file").write_text(text)
        told["scratch"] = os.path.dirname(module.tmpdir)
    if act == "file":
        told["content"] = Path(module.params["path"]).read_text()
    if act == "print":
        print("before")
        print("an error", file=sys.stderr)
        try:
            module.exit_json(**told)
        finally:
            print("after")
    if act == "crash":
        try:
            raise ValueError(f"the cause is {text}")
        except ValueError as error:
            raise RuntimeError("this is a crash") from error
    if act == "leave":
        print("no JSON")
        sys.exit(3)
    if act == "say nothing":
        return
    if act == "tidy":
        # As model_repository does it.
        signal.signal(signal.SIGTERM, ended)
    if act in ("sleep", "tidy"):
        try:
            # Whoever reads it may send a signal at once.
            Path(module.params["path"]).write_text(str(os.getpid()))
            time.sleep(float(text))
        except (InterruptedError, KeyboardInterrupt) as error:
            # The signals that come besides have come by then.
            time.sleep(0.5)
            Path(module.params["path"] + ".tidy").touch()
            module.fail_json(msg=str(error))
    if act == "fail":
        module.fail_json(msg=f"It failed with {text} and {module.params['secret']}.", **told)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
