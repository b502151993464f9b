# depth_ros with TensorRT on a desktop GPU, in ROS 2 Jazzy.
#
# UNTESTED: this file was never built, and no engine was ever run in it. Please report what you find.
#
#     docker build -f docker/desktop.Dockerfile -t depth_ros .
#     docker run --gpus all --ipc=host --net=host -v depth_ros_cache:/cache -it depth_ros \
#         ros2 launch depth_ros mono_depth.launch.py image_topic:=/camera/image_raw engine:=tensorrt
FROM ros:jazzy

SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /ws
COPY package.xml src/depth_ros/package.xml
RUN apt-get update && \
    apt-get install -y python3-venv python3-colcon-common-extensions && \
    rosdep update --rosdistro jazzy && \
    rosdep install --from-paths src --ignore-src --default-yes && \
    rm -rf /var/lib/apt/lists/*

# The messages of Jazzy are built against NumPy 1. `tensorrt` brings its CUDA libraries along.
RUN python3 -m venv --system-site-packages venv && touch venv/COLCON_IGNORE && \
    venv/bin/pip install --no-cache-dir onnx onnxruntime rosbags tensorrt cuda-python 'numpy<2'

COPY . src/depth_ros
RUN source /opt/ros/jazzy/setup.bash && source venv/bin/activate && \
    python -m colcon build --packages-select depth_ros

# Engines are kept in a volume: the first start builds, the next ones load.
ENV DEPTH_ROS_ENGINE_CACHE=/cache/engines
VOLUME /cache
RUN printf '%s\n' 'source /ws/venv/bin/activate' 'source /ws/install/setup.bash' >> /root/.bashrc
ENTRYPOINT ["/bin/bash", "-c", "source /opt/ros/jazzy/setup.bash; source /ws/venv/bin/activate; source /ws/install/setup.bash; exec \"$@\"", "--"]
CMD ["bash"]
