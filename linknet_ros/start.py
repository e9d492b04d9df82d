"""Entry points of the nodes, which first of all look after signals."""

from linknet_ros.system.signals import end_quietly


def segment_node() -> None:
    """Entry point of `ros2 run linknet_ros segment_node`."""
    end_quietly()
    from linknet_ros.node.segment_node import main

    main()


def replay_node() -> None:
    """Entry point of `ros2 run linknet_ros replay_node`."""
    end_quietly()
    from linknet_ros.simulation.replay_node import main

    main()


def view_node() -> None:
    """Entry point of `ros2 run linknet_ros view_node`."""
    end_quietly()
    from linknet_ros.view.view_node import main

    main()
