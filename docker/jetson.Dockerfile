# depth_ros with JetPack's TensorRT on a Jetson Orin, in ROS 2 Humble.
#
# UNTESTED: this file was never built, and no engine was ever run in it. Please report what you find.
#
#     docker build -f docker/jetson.Dockerfile -t depth_ros .                       # on the Jetson
#     docker run --runtime nvidia --ipc=host --net=host -v depth_ros_cache:/cache -it depth_ros \
#         ros2 launch depth_ros mono_depth.launch.py image_topic:=/camera/image_raw engine:=tensorrt
#
# The tag is that of the host's Jetson Linux: cat /etc/nv_tegra_release (R36.4 is JetPack 6.1 and 6.2).
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}

SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y curl gnupg lsb-release && \
    curl -sSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key \
        -o /usr/share/keyrings/ros-archive-keyring.gpg && \
    echo "deb [signed-by=/usr/share/keyrings/ros-archive-keyring.gpg] http://packages.ros.org/ros2/ubuntu jammy main" \
        > /etc/apt/sources.list.d/ros2.list && \
    apt-get update && \
    apt-get install -y ros-humble-ros-base python3-colcon-common-extensions python3-rosdep python3-venv && \
    rm -rf /var/lib/apt/lists/*

WORKDIR /ws
COPY package.xml src/depth_ros/package.xml
RUN apt-get update && rosdep init && rosdep update --rosdistro humble && \
    rosdep install --from-paths src --ignore-src --default-yes --rosdistro humble && \
    rm -rf /var/lib/apt/lists/*

# TensorRT is JetPack's own (python3-libnvinfer): pip has none for Jetson. cuda-python of CUDA 12,
# which JetPack 6 has. The messages of Humble are built against NumPy 1.
RUN apt-get update && apt-get install -y python3-libnvinfer && rm -rf /var/lib/apt/lists/* && \
    python3 -m venv --system-site-packages venv && touch venv/COLCON_IGNORE && \
    venv/bin/pip install --no-cache-dir onnx onnxruntime rosbags 'cuda-python<13' 'numpy<2'

COPY . src/depth_ros
RUN source /opt/ros/humble/setup.bash && source venv/bin/activate && \
    python -m colcon build --packages-select depth_ros

ENV DEPTH_ROS_ENGINE_CACHE=/cache/engines
VOLUME /cache
ENTRYPOINT ["/bin/bash", "-c", "source /opt/ros/humble/setup.bash; source /ws/venv/bin/activate; source /ws/install/setup.bash; exec \"$@\"", "--"]
CMD ["bash"]
