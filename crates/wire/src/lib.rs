//! Every format that leaves a host, as `docs/protocol.md` specifies it clause by clause.
//!
//! Pure: bytes in, values out, and back. A decoder never panics and never reads past what it was given; what a decoder
//! accepts can be encoded again.

#![forbid(unsafe_code)]

mod cbor;
mod digest;
mod fact;
mod hops;
mod in_link;
mod mapping;
mod meeting;
mod message;
mod name;
mod parcel;
mod payload;
mod prelude;
mod record;
mod refuse;
mod relay;
mod replay;

pub use digest::{BUCKETS, Digest, DigestEntry};
pub use fact::{Fact, FactError, FactKind, FactView, MAX_FACT, MAX_FACT_PAYLOAD};
pub use hops::{GROUP_HEADER, GroupHeader, Hops, MAX_HOPS};
pub use in_link::{
    GROUP_FRAME_HEADER, RELAYED_HEADER, decode_group_frame, decode_relayed, encode_group_frame_header,
    encode_relayed_header, is_relayed_or_group,
};
pub use mapping::Mapping;
pub use meeting::{MeetingShare, MeetingStep};
pub use message::{
    Hello, MAX_MESSAGE, Message, MessageError, SessionKeyShare, TRANSPORT_TLS, TRANSPORT_UDP, decode_frame,
    encode_frame_header,
};
pub use name::{PeerName, PeerNameError, Uid};
pub use parcel::{
    AddressUpdate, DistantShare, MAX_ADDRESSES, MAX_PARCEL_BODY, Parcel, ParcelError, ParcelKind,
};
pub use payload::{
    LinkEntry, LinkList, PeerFact, RemovedEntry, decode_removed, encode_links, encode_removed,
};
pub use prelude::{PRELUDE_LEN, Prelude, PreludeError, VERSION, VERSION_MIN, common_version};
pub use record::{
    ANSWER_RECORD, Arrived, Cipher, FRAME_HEADER, GROUP_PREFIX, Payload, RECORD_HEADER, RecordError,
    RecordHeader, SLICE_HEADER, TAG_LEN, UNICAST_OVERHEAD, max_record_overhead,
};
pub use refuse::{Refuse, RefuseCode};
pub use relay::{RELAY_OVERHEAD, RelayHeader};
pub use replay::{REPLAY_WINDOW, ReplayWindow};
