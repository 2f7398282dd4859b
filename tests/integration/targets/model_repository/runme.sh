#!/usr/bin/env bash
# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -eux

# ansible-test reads this file for targets that are roles.
settings=../../integration_config.yml
if [ -e "${settings}" ]; then
    set -- -e "@${settings}" "$@"
fi
ANSIBLE_ROLES_PATH=.. ansible-playbook test.yml -i "${INVENTORY_PATH}" "$@"
