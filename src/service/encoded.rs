//! A message in its encoded form.

use prost::DecodeError;
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, skip_field};

/// The bytes of a message. The calls that carry many questions take and give their messages like this, so that reading
/// such a message is no work at all, and its parts can be decoded one after the other. Long answers are given like this, so that
/// the thread that makes one also encodes it. The bytes are not copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded(Bytes);

impl Encoded {
    /// Returns the encoded form of `message`.
    pub fn of(message: &impl Message) -> Self {
        Self(message.encode_to_vec().into())
    }

    /// Returns the message.
    pub fn decoded<M: Message + Default>(&self) -> Result<M, DecodeError> {
        M::decode(self.bytes())
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Encoded {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Message for Encoded {
    fn decode(mut buf: impl Buf) -> Result<Self, DecodeError> {
        Ok(Self(buf.copy_to_bytes(buf.remaining())))
    }

    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    /// Is never called: only a message that has an `Encoded` as a field would do so, and none has. The method is
    /// required, and skips the field.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
