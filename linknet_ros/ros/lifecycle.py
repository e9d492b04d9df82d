"""What rclpy's lifecycle nodes leave out: faults in transitions that are logged or survived."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from linknet_ros.errors import first_line

N = TypeVar('N')


def logged(
    transition: Callable[[N, LifecycleState], TransitionCallbackReturn],
) -> Callable[[N, LifecycleState], TransitionCallbackReturn]:
    """Log an exception in a transition callback: rclpy makes a state of it without a word."""

    @functools.wraps(transition)
    def run(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            # After a signal everything fails that needs ROS, which is not a fault.
            if node.context.ok():
                node.get_logger().error(
                    f'{transition.__name__} failed: {type(error).__name__}: {error}'
                )
            raise

    return run


def refuse_invalid_transitions(node: LifecycleNode) -> None:
    """Answer `no` to a transition that the state does not have; rclpy ends the process."""
    service = node._service_change_state
    change_state = service.callback

    def answer(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        before = node._state_machine.current_state
        try:
            return change_state(request, response)
        except Exception as error:
            if node._state_machine.current_state != before:
                raise
            what = request.transition.label or request.transition.id
            node.get_logger().error(
                f"transition '{what}' is refused in state '{before[1]}': {first_line(error)}"
            )
            response.success = False
            return response

    service.callback = answer
