//! Which links are let in (P1.3, P2.9, P2.10, P3.7).

use std::net::SocketAddr;
use std::time::Instant;

use wire::{PeerName, Refuse, RefuseCode};

use super::{Action, COALESCE, LinkId, LinkUp, LinkWay, Mesh, canonical};
use crate::attempt::Failure;
use crate::notices::{CURE, Subject};
use crate::text;

impl Mesh {
    /// Lets a link in, or says why not.
    pub(super) fn admit(&mut self, now: Instant, id: LinkId, mut up: LinkUp) -> Result<(), Refuse> {
        up.address = canonical(up.address);
        up.nickname = text::nickname(&up.nickname);
        match self.judge(now, &up) {
            Ok(replaced) => {
                if let Some(old) = replaced {
                    self.replace(now, old);
                }
                self.enter(now, id, &up);
                Ok(())
            }
            Err(refuse) => {
                self.turn_away(now, &up, &refuse);
                Err(refuse)
            }
        }
    }

    /// Whether the link may come up, and which one it replaces.
    fn judge(&mut self, now: Instant, up: &LinkUp) -> Result<Option<LinkId>, Refuse> {
        self.judge_identity(now, up)?;
        if let Some(old) = self.links.of_peer(up.peer) {
            return self.judge_second(now, up, old).map(Some);
        }
        self.judge_limit(now, up).map(|()| None)
    }

    /// Whether there is room. At the limit a link that is not needed gives way to a peer that we want, or that nobody else
    /// reaches; so a limit turns callers away, but never splits the network.
    fn judge_limit(&mut self, now: Instant, up: &LinkUp) -> Result<(), Refuse> {
        let limit = self.config.conn_limit;
        if limit == 0 || self.links.len() < limit {
            return Ok(());
        }
        // What was closed a moment ago must not count for a way any more.
        self.survey(now);
        // Targets are exempt: the operator named them.
        let is_target = up.dial.is_some_and(|dial| self.targets.expected(dial).is_none());
        let is_newcomer = !self.found.reached.contains(up.peer);
        let is_worth_it = is_target || is_newcomer || self.is_kept(up.peer);
        if is_worth_it && self.make_room(now, is_newcomer) || is_target {
            return Ok(());
        }
        let text = format!("{} ({}) has its {limit} links already", self.config.name, self.config.nickname);
        Err(Refuse::new(RefuseCode::LimitReached, text))
    }

    /// Whether the other end is whom it must be.
    fn judge_identity(&mut self, now: Instant, up: &LinkUp) -> Result<(), Refuse> {
        let (own, peer, address) = (self.config.name, up.peer, up.address);
        if up.public_key == self.config.identity.public_key() {
            if up.uid == self.config.uid {
                return Err(Refuse::new(RefuseCode::Oneself, "you dialled yourself"));
            }
            self.warnings.add(now, Subject::OwnIdentity, Self::own_identity_text(up));
            let text = format!("{own} ({}) runs with the same identity: {CURE}", self.config.nickname);
            return Err(Refuse::new(RefuseCode::IdentityInUse, text));
        }
        if let Some(expected) = up.dial.and_then(|dial| self.targets.expected(dial))
            && expected != peer
        {
            let text = format!("at {address} is {peer} ({}), not {expected}", up.nickname);
            return Err(Refuse::new(RefuseCode::WrongPeer, text));
        }
        if !self.facts.is_free_for(peer, &up.public_key) {
            self.name_is_taken(now, peer, Some((&up.nickname, address)));
            let text = format!(
                "the name {peer} is known with another key: launch one of the two with another `--name`, or, if \
                 this host was set up anew, try again in two minutes"
            );
            return Err(Refuse::new(RefuseCode::NameCollision, text));
        }
        Ok(())
    }

    /// Whether a second link to a peer replaces the first.
    fn judge_second(&mut self, now: Instant, up: &LinkUp, old: LinkId) -> Result<LinkId, Refuse> {
        let Some(link) = self.links.get(old) else { return Ok(old) };
        if link.uid != up.uid {
            let text = format!(
                "the identity of {} ({}) is in use on a link with {}: an earlier run of this host is given up \
                 within seconds; but if two hosts share this identity, {CURE}",
                up.peer, link.nickname, link.address
            );
            if let Some(ping) = self.links.demand_proof(now, old, up.address, &mut self.rng) {
                self.act_on(now, ping);
            }
            return Err(Refuse::new(RefuseCode::IdentityInUse, text));
        }
        if self.rank(up) >= link.rank {
            return Err(Refuse::new(RefuseCode::Duplicate, "a link between us exists already"));
        }
        Ok(old)
    }

    fn rank(&self, up: &LinkUp) -> (PeerName, u32) {
        (if up.outbound { self.config.name } else { up.peer }, up.dialler_nonce)
    }

    /// Closes a link in favour of one that comes up now.
    fn replace(&mut self, now: Instant, old: LinkId) {
        if self.links.remove(old).is_some() {
            self.counters.links_down += 1;
            self.counters.links_replaced += 1;
            self.targets.link_replaced(now, old);
            let refuse = Refuse::new(RefuseCode::Duplicate, "another link between us stays");
            self.actions.push_back(Action::Close { link: old, refuse });
        }
    }

    fn enter(&mut self, now: Instant, id: LinkId, up: &LinkUp) {
        self.counters.links_up += 1;
        if !self.facts.knows(up.peer) {
            self.actions.push_back(Action::PeerSeen(up.peer));
        }
        self.facts.link_up(up.peer, up.public_key);
        self.links.add(now, id, up, self.rank(up));
        let at_port = (up.port != 0).then(|| SocketAddr::new(up.address.ip(), up.port));
        let dialable = match up.way {
            LinkWay::Direct | LinkWay::Proxy if up.outbound => Some(up.address),
            LinkWay::Direct | LinkWay::Meeting => at_port,
            LinkWay::Proxy | LinkWay::TheirProxy => None,
        };
        self.targets.link_up(now, id, up.dial, up.peer, dialable);
        if !up.outbound {
            self.refused.accepted(up.address.ip());
        }
        self.links_changed(now, false);
        self.state_by(now + COALESCE);
        self.gossip_with(now, id, up.peer);
    }

    fn turn_away(&mut self, now: Instant, up: &LinkUp, refuse: &Refuse) {
        self.counters.links_refused += 1;
        let code = refuse.known();
        // The refusal is written for the other end; what is shown here speaks of us.
        let reason = match code {
            Some(RefuseCode::LimitReached) => {
                format!("this host has its {} links already", self.config.conn_limit)
            }
            Some(RefuseCode::IdentityInUse) if up.public_key == self.config.identity.public_key() => {
                Self::own_identity_text(up)
            }
            _ => refuse.text.clone(),
        };
        if let Some(dial) = up.dial {
            self.counters.dials_failed += 1;
            if code == Some(RefuseCode::Duplicate) {
                self.targets.duplicate(now, dial, up.peer);
            } else {
                self.targets.failed(now, dial, Failure { reason: &reason, code }, &mut self.rng);
            }
        }
        // That two hosts dial each other at once is no news.
        if !up.outbound && !matches!(code, Some(RefuseCode::Oneself | RefuseCode::Duplicate)) {
            self.refused.add(now, up.address, reason);
        }
    }

    fn own_identity_text(up: &LinkUp) -> String {
        format!("another host, at {}, runs with this host's identity: {CURE}", up.address)
    }

    /// Someone claims a name that belongs to another key.
    pub(super) fn name_is_taken(&mut self, now: Instant, name: PeerName, who: Option<(&str, SocketAddr)>) {
        let who = who
            .map_or_else(|| "somewhere in the network".to_owned(), |(nick, at)| format!("`{nick}` at {at}"));
        let whose =
            if name == self.config.name { "this host's name".to_owned() } else { format!("the name {name}") };
        let text = format!(
            "{whose} is also claimed with another key ({who}): launch one of the two with another `--name`"
        );
        self.warnings.add(now, Subject::Name(name), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{identity, link_up, mesh, start};

    fn link(outbound: bool, dialler_nonce: u32) -> LinkUp {
        LinkUp { dialler_nonce, ..link_up(2, outbound) }
    }

    /// Of two links that come up in this order, the number of the one that stays.
    fn stays(first: LinkUp, second: LinkUp) -> u64 {
        let (now, peer) = (start(), first.peer);
        let mut mesh = mesh(now);
        assert_eq!(mesh.handle_link_up(now, LinkId(1), first), Ok(()));
        let refused = mesh.handle_link_up(now, LinkId(2), second).err();
        let closed = std::iter::from_fn(|| mesh.poll_action()).find_map(|action| match action {
            Action::Close { link: LinkId(1), refuse } => Some(refuse),
            _ => None,
        });
        // Exactly one of the two is told, with code 7.
        let told = refused.into_iter().chain(closed).map(|r| r.known()).collect::<Vec<_>>();
        assert_eq!(told, [Some(RefuseCode::Duplicate)]);
        mesh.link_of(peer).map_or(0, |l| l.0)
    }

    #[test]
    fn of_two_links_the_one_whose_dialler_has_the_smaller_name_stays() {
        let own_is_smaller = identity(1).name() < identity(2).name();
        assert_eq!(stays(link(true, 5), link(false, 4)) == 1, own_is_smaller);
        assert_eq!(stays(link(false, 4), link(true, 5)) == 2, own_is_smaller);
    }

    #[test]
    fn of_two_links_with_one_dialler_the_one_with_the_smaller_nonce_stays() {
        for outbound in [true, false] {
            assert_eq!(stays(link(outbound, 4), link(outbound, 5)), 1);
            assert_eq!(stays(link(outbound, 5), link(outbound, 4)), 2);
        }
    }

    #[test]
    fn a_peer_that_is_back_a_moment_before_it_is_to_be_forgotten_stays_known() {
        let now = start();
        let at = |ms| now + std::time::Duration::from_millis(ms);
        let mut mesh = mesh(now);
        mesh.handle_link_up(now, LinkId(1), link(true, 1)).unwrap();
        mesh.handle_link_down(now, LinkId(1), "lost");
        mesh.handle_timeout(at(100));
        assert_eq!(mesh.reach.next_forgotten(), Some(at(60_100)));
        mesh.handle_link_up(at(60_050), LinkId(2), link(true, 2)).unwrap();
        mesh.handle_timeout(at(60_100));
        assert!(mesh.facts.knows(identity(2).name()));
        assert!(std::iter::from_fn(|| mesh.poll_action()).all(|a| !matches!(a, Action::PeerGone(_))));
    }
}
