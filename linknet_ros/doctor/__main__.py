"""`python -m linknet_ros.doctor`: signals first, then `python -m linknet_ros doctor`."""

from linknet_ros.system.signals import end_quietly

if __name__ == '__main__':
    end_quietly(endless=False)
    from linknet_ros.doctor.doctor import main

    main()
