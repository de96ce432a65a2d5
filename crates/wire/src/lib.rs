//! Every format that leaves a host, as `docs/protocol.md` specifies it clause by clause.
//!
//! Pure: bytes in, values out, and back. A decoder never panics and never reads past what it was given; what a decoder
//! accepts can be encoded again.

#![forbid(unsafe_code)]

mod fact;
mod hops;
mod message;
mod name;
mod prelude;
mod record;
mod refuse;

pub use fact::{DigestEntry, Fact, FactError, FactKind, LinkEntry, PeerFact, decode_links, encode_links};
pub use hops::{GROUP_HEADER, GroupHeader, Hops, MAX_HOPS};
pub use message::{
    Hello, MAX_MESSAGE, Message, MessageError, SessionKeyShare, TRANSPORT_TLS, TRANSPORT_UDP, decode_frame,
    encode_frame_header,
};
pub use name::{PeerName, PeerNameError, Uid};
pub use prelude::{PRELUDE_LEN, Prelude, PreludeError, VERSION, VERSION_MIN, common_version};
pub use record::{
    ANSWER_RECORD, Arrived, Cipher, FRAME_HEADER, Payload, RECORD_HEADER, RecordError, RecordHeader,
    SLICE_HEADER, TAG_LEN, max_record_overhead,
};
pub use refuse::{Refuse, RefuseCode};
