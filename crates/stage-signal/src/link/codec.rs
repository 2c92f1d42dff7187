//! The frames of a link as a call of gRPC carries them.

use bytes::Buf as _;
use stage_proto::Unfold as _;
use stage_proto::signal::v1 as proto;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::frame::Frame;
use super::heard::{Heard, Unreadable};

/// The path of the call.
pub(crate) const PATH: &str = "/stage.signal.v1.SignalService/Link";

/// Encodes and decodes frames without a structure for each part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = Heard;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for FrameCodec {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(frame.encoded_len());
        frame.encode(buffer);
        Ok(())
    }
}

impl Decoder for FrameCodec {
    type Item = Heard;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Heard>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        Heard::read(bytes).map(Some).map_err(|unreadable| match unreadable {
            Unreadable::Malformed => Status::internal("the frame is no protobuf message"),
            Unreadable::TooMuch => Status::resource_exhausted(format!(
                "the message unfolds to more than {} bytes beside its own; send less at a time",
                proto::Frame::MOST
            )),
        })
    }
}
