# Copyright 2026 depth_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Every encoding, padding and byte order, and messages that lie about themselves."""

from types import SimpleNamespace as Message

import cv2
from depth_ros.core.message_fields import (
    camera_from_info,
    decode_compressed_image,
    decode_image,
    ENCODINGS,
    read_field,
    read_xyz,
    shared_frame_id,
    stamp_ns,
)
from depth_ros.errors import FrameError
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

BGR = np.random.default_rng(5).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def image(encoding, array, *, pad=0, tail=True) -> Message:
    height, width = array.shape[:2]
    rows = array.reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, pad)), constant_values=77)
    data = padded.tobytes()
    return Message(
        encoding=encoding,
        height=height,
        width=width,
        step=padded.shape[1],
        data=data if tail else data[: len(data) - pad],
        is_bigendian=0,
    )


@pytest.mark.parametrize('pad', [0, 7])
@pytest.mark.parametrize(
    ('encoding', 'array'),
    [
        ('bgr8', BGR),
        ('8UC3', BGR),
        ('rgb8', BGR[..., ::-1]),
        ('bgra8', np.dstack([BGR, BGR[..., :1]])),
        ('rgba8', np.dstack([BGR[..., ::-1], BGR[..., :1]])),
    ],
)
def test_colour_encodings_give_the_same_bgr(encoding, array, pad):
    np.testing.assert_array_equal(decode_image(image(encoding, array, pad=pad)), BGR)


@pytest.mark.parametrize(
    ('image', 'info', 'frame'),
    [('left', 'left', 'left'), ('left', '', 'left'), ('', 'left', 'left'), ('', '', '')],
)
def test_shared_frame_may_be_told_by_one_of_the_two(image, info, frame):
    assert shared_frame_id(image, info, '/info') == frame


def test_shared_frame_of_two_cameras_is_refused_with_both():
    with pytest.raises(FrameError, match="frame 'left': camera_info of '/info' is for 'right'"):
        shared_frame_id('left', 'right', '/info')


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_mono_is_repeated_into_three_channels(encoding):
    decoded = decode_image(image(encoding, BGR[..., 0], pad=3))
    np.testing.assert_array_equal(decoded, np.repeat(BGR[..., :1], 3, axis=2))


@pytest.mark.parametrize(('encoding', 'luma'), [('yuv422', 1), ('yuv422_yuy2', 0)])
def test_yuv_of_neutral_chroma_is_grey(encoding, luma):
    packed = np.full((4, 8, 2), 128, np.uint8)
    packed[..., luma] = 126
    decoded = decode_image(image(encoding, packed)).astype(int)
    # BT.601 limited range: (126 - 16) * 255 / 219.
    np.testing.assert_allclose(decoded, 128, atol=2)


@pytest.mark.parametrize(('encoding', 'order'), [('yuv422', 'uyvy'), ('yuv422_yuy2', 'yuyv')])
def test_yuv_of_red_is_red(encoding, order):
    channel = {'y': 82, 'u': 90, 'v': 240}
    pair = np.array([channel[name] for name in order], np.uint8)
    decoded = decode_image(image(encoding, np.tile(pair, (4, 4)).reshape(4, 8, 2)))
    b, g, r = decoded[2, 3]
    assert r > 240
    assert b < 15
    assert g < 15


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns_are_named_by_their_first_pixels(pattern):
    # A pure blue scene: only the photosites named b see light.
    tile = np.array([255 if letter == 'b' else 0 for letter in pattern], np.uint8).reshape(2, 2)
    decoded = decode_image(image(f'bayer_{pattern}8', np.tile(tile, (6, 8))))
    inner = decoded[2:-2, 2:-2]
    assert (inner[..., 0] == 255).all()
    assert not inner[..., 1:].any()


def test_bgr8_without_padding_is_not_copied():
    message = image('bgr8', BGR)
    source = np.frombuffer(message.data, np.uint8)
    assert np.shares_memory(decode_image(message), source)


def test_last_row_may_lack_its_padding():
    np.testing.assert_array_equal(decode_image(image('bgr8', BGR, pad=5, tail=False)), BGR)


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16', '32FC1', 'bayer_rggb16', 'nv21', ''])
def test_other_encodings_are_refused_by_name_with_the_known_ones(encoding):
    message = image(encoding, BGR)
    with pytest.raises(FrameError, match=f"'{encoding}' is not supported.*bgr8"):
        decode_image(message)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'height': 0}, '16x0'),
        ({'width': 0}, '0x12'),
        ({'data': b'123'}, '3 bytes'),
        ({'data': b''}, '0 bytes'),
        ({'step': 47}, 'step 47'),
        ({'height': 13}, 'needs 624'),
    ],
)
def test_image_that_contradicts_itself_is_refused_by_value(change, named):
    message = image('bgr8', BGR)
    for key, value in change.items():
        setattr(message, key, value)
    with pytest.raises(FrameError, match=named):
        decode_image(message)


def test_yuv_of_odd_width_is_refused():
    with pytest.raises(FrameError, match='even width'):
        decode_image(image('yuv422', np.zeros((4, 7, 2), np.uint8)))


@given(st.sampled_from(sorted(ENCODINGS)), st.integers(1, 9), st.integers(1, 9), st.integers(0, 5))
def test_every_encoding_gives_its_size(encoding, half_height, half_width, pad):
    height, width = 2 * half_height, 2 * half_width
    array = np.zeros((height, width, ENCODINGS[encoding][0]), np.uint8)
    decoded = decode_image(image(encoding, array, pad=pad))
    assert decoded.shape == (height, width, 3)
    assert decoded.dtype == np.uint8


def test_png_is_decoded_exactly_and_jpeg_nearly():
    smooth = cv2.resize(BGR, (160, 120), interpolation=cv2.INTER_CUBIC)
    for extension, tolerance in (('.png', 0), ('.jpg', 6)):
        _, data = cv2.imencode(extension, smooth)
        decoded = decode_compressed_image(Message(format=extension, data=data.tobytes()))
        assert np.abs(decoded.astype(int) - smooth).mean() <= tolerance


@pytest.mark.parametrize('data', [b'', b'not an image', b'\xff\xd8\xff\xe0'])
def test_compressed_image_that_is_none_is_refused(data):
    with pytest.raises(FrameError, match=f"{len(data)} bytes, format 'jpeg'"):
        decode_compressed_image(Message(format='jpeg', data=data))


def test_stamp_is_nanoseconds_of_header_or_time():
    time = Message(sec=12, nanosec=345)
    assert stamp_ns(time) == 12_000_000_345
    assert stamp_ns(Message(stamp=time)) == 12_000_000_345


def info(**changes) -> Message:
    values = {
        'width': 640,
        'height': 480,
        'distortion_model': 'plumb_bob',
        'd': [0.0] * 5,
        'k': [500.0, 0, 320, 0, 500, 240, 0, 0, 1],
        'r': [1.0, 0, 0, 0, 1, 0, 0, 0, 1],
        'p': [500.0, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0],
        'binning_x': 0,
        'binning_y': 0,
        'roi': Message(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }
    return Message(**(values | changes))


def test_camera_info_binning_of_zero_means_one():
    camera = camera_from_info(info(), is_rectified_image=False)
    assert (camera.binning_x, camera.binning_y) == (1, 1)
    assert camera.image_size == (640, 480)
    assert not camera.needs_rectification


def test_camera_info_rotation_of_zeros_means_none():
    camera = camera_from_info(info(r=[0.0] * 9), is_rectified_image=False)
    assert not camera.needs_rectification


def test_camera_info_roi_is_honoured():
    roi = Message(x_offset=10, y_offset=20, width=100, height=50, do_rectify=True)
    camera = camera_from_info(info(roi=roi), is_rectified_image=False)
    assert camera.image_size == (100, 50)
    assert camera.intrinsics.cx == 310


@pytest.mark.parametrize('k0', [0.0, float('nan')])
def test_uncalibrated_camera_info_is_refused(k0):
    with pytest.raises(FrameError, match=r'camera_info\.k'):
        camera_from_info(info(k=[k0, 0, 0, 0, k0, 0, 0, 0, 1]), is_rectified_image=False)


def cloud(columns, *, order='<', height=1, row_pad=0, extra=0) -> Message:
    """Return a PointCloud2 of named columns, (name, datatype, values)."""
    kinds = {7: 'f4', 8: 'f8', 6: 'u4', 4: 'u2', 2: 'u1'}
    names = [name for name, _, _ in columns]
    formats = [order + kinds[datatype] for _, datatype, _ in columns]
    offsets = np.cumsum([0] + [np.dtype(f).itemsize for f in formats])
    dtype = np.dtype(
        {
            'names': names,
            'formats': formats,
            'offsets': offsets[:-1].tolist(),
            'itemsize': int(offsets[-1]) + extra,
        }
    )
    count = len(columns[0][2])
    points = np.zeros(count, dtype)
    for name, _, values in columns:
        points[name] = values
    rows = points.reshape(height, -1).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, row_pad)))
    fields = [
        Message(name=n, offset=int(o), datatype=d, count=1)
        for (n, d, _), o in zip(columns, offsets[:-1], strict=True)
    ]
    return Message(
        width=count // height,
        height=height,
        point_step=dtype.itemsize,
        row_step=rows.shape[1],
        fields=fields,
        is_bigendian=order == '>',
        data=rows.tobytes(),
    )


XYZ = np.random.default_rng(2).normal(size=(12, 3)).astype(np.float32)


@given(
    st.permutations(['x', 'y', 'z', 'intensity']),
    st.sampled_from([7, 8]),
    st.sampled_from('<>'),
    st.sampled_from([1, 3]),
    st.integers(0, 9),
    st.integers(0, 6),
)
def test_points_are_read_whatever_their_layout(names, datatype, order, height, row_pad, extra):
    values = dict(zip('xyz', XYZ.T, strict=True)) | {'intensity': np.arange(12)}
    columns = [(name, datatype, values[name]) for name in names]
    message = cloud(columns, order=order, height=height, row_pad=row_pad, extra=extra)
    np.testing.assert_array_equal(read_xyz(message), XYZ)
    np.testing.assert_array_equal(read_field(message, 'intensity'), np.arange(12))
    assert read_field(message, 'time') is None


def xyz_columns(values=XYZ):
    return [(name, 7, values[:, i]) for i, name in enumerate('xyz')]


def test_nan_points_are_kept():
    values = XYZ.copy()
    values[4] = np.nan
    assert np.isnan(read_xyz(cloud(xyz_columns(values)))[4]).all()


def test_empty_cloud_gives_no_points():
    assert read_xyz(cloud(xyz_columns(XYZ[:0]))).shape == (0, 3)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'data': b'12'}, '2 bytes'),
        ({'point_step': 8}, 'point_step is 8'),
        ({'fields': []}, "'x' is missing"),
        ({'row_step': 10}, 'row_step 10'),
    ],
)
def test_cloud_that_contradicts_itself_is_refused(change, named):
    message = cloud(xyz_columns())
    for key, value in change.items():
        setattr(message, key, value)
    with pytest.raises(FrameError, match=named):
        read_xyz(message)


def test_integer_coordinates_are_refused():
    with pytest.raises(FrameError, match=r"'x' has datatype 6"):
        read_xyz(cloud([('x', 6, XYZ[:, 0]), *xyz_columns()[1:]]))


def test_unknown_field_datatype_is_refused_by_name():
    message = cloud(xyz_columns())
    message.fields.append(Message(name='odd', offset=0, datatype=99, count=1))
    with pytest.raises(FrameError, match="'odd' has unknown datatype 99"):
        read_xyz(message)
