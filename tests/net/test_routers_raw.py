# SPDX-License-Identifier: Apache-2.0
"""The same over raw sockets, which root's networks have where the host lets nobody open ping sockets."""

import os

import pytest
from routers import Routers
from test_routers import (  # noqa: F401
    test_forged_error_from_outside,
    test_one_id_for_many_destinations,
    test_packet_too_big,
    test_reply_has_its_true_time_to_live,
    test_router_that_does_not_pass_a_request_on,
    test_traceroute_by_icmp,
    test_type_of_service_and_time_to_live_go_out,
)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root's networks have raw sockets: run this as root too"
)


@pytest.fixture(scope="module")
def routers(lab):
    with Routers(lab) as routers:
        yield routers
