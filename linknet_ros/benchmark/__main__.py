"""`python -m linknet_ros.benchmark`: signals first, then `python -m linknet_ros benchmark`."""

from linknet_ros.system.signals import end_quietly

if __name__ == '__main__':
    end_quietly(endless=False)
    from linknet_ros.benchmark.benchmark import main

    main()
