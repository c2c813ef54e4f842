package proxyos

import (
	"slices"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/dashboard"
	"github.com/proxyos/caddy-proxyos/internal/release"
)

// snapshot tells a dashboard how the routes of a config are now.
func (a *App) snapshot() *dashboard.Snapshot {
	s := &dashboard.Snapshot{Routes: []dashboard.Route{}}
	stored, _, _ := a.steering.store.memory.latest()
	for _, r := range a.routes.inOrder() {
		s.Routes = append(s.Routes, r.snapshot(&stored))
	}
	s.Changes = a.steering.store.memory.changes.all()
	return s
}

// snapshot tells a dashboard how the route is now. Versions are those of what is stored.
func (r *route) snapshot(stored *document) dashboard.Route {
	s := r.status()
	to := dashboard.Route{
		Name: s.Name, Label: s.Label, Site: r.place.label(""), Configured: s.ConfiguredSplit,
		Fallbacks: s.Fallbacks, OverBudget: s.Unretried, Retries: s.Retries,
		Version: r.shareVersion(stored.Routes[r.name]),
	}
	if r.staging != nil {
		to.Split = &s.TrafficSplit
	}
	if s.Override != nil {
		to.SetBy, to.SetAt = s.Override.SetBy, s.Override.SetAt
	}
	if s.Release != nil {
		to.Release = snapshotOfRelease(s.Release, stored.release(r.name))
	}
	for i, g := range r.groups {
		to.Groups = append(to.Groups, g.snapshot(r, &s.Groups[i], stored.Upstreams[r.name]))
	}
	return to
}

func (g *group) snapshot(r *route, s *groupStatus, overrides upstreamOverrides) dashboard.Group {
	durations := g.state.durations.addTo(durationCounts{})
	to := dashboard.Group{Name: s.Name, Dynamic: s.Dynamic, Requests: s.Requests, Errors: s.Errors, InFlight: s.InFlight,
		Durations: durations.buckets[:], Upstreams: []dashboard.Upstream{}}
	for i, t := range g.targets {
		to.Upstreams = append(to.Upstreams, t.snapshot(r, &s.Upstreams[i], overrides[t.backend.dial]))
	}
	return to
}

func (at *target) snapshot(r *route, s *upstreamStatus, override *upstreamOverride) dashboard.Upstream {
	to := dashboard.Upstream{
		Address: s.Address, Dial: s.Dial, Speaks: at.backend.describe(), Weight: s.Weight, Configured: at.backend.weight,
		Weighable: r.refuseWeight(at.backend.dial) == nil, Health: s.Health, Drained: s.Drained, Backup: s.Backup,
		InFlight: s.InFlight, Requests: s.Requests, Errors: s.Errors, Version: override.version(), Repeated: at.isRepeat,
	}
	if s.WarmUp != nil {
		to.WarmUp = *s.WarmUp
	}
	if s.Why != nil {
		to.Since, to.Problem, to.Hint, to.Fix = s.Why.Since, s.Why.Problem, s.Why.Hint, s.Why.Fix
	}
	if s.Override != nil {
		to.SetBy, to.SetAt = s.Override.SetBy, s.Override.SetAt
	}
	if at.backend.scheme == address.HTTPS {
		to.Certificate = at.certificate(r, s)
	}
	return to
}

// certificate tells what is known of the certificate of an upstream that speaks HTTPS.
func (at *target) certificate(r *route, s *upstreamStatus) *dashboard.Certificate {
	c := &dashboard.Certificate{State: "checked"}
	switch {
	case len(at.backend.pins) > 0:
		c.State = "pinned"
	case r.transport != nil && r.transport.hasNewCertificate(at.backend.dial):
		c.State = "changed"
	case !at.backend.verify:
		c.State = "not checked"
	}
	if shown := s.Certificate; shown != nil {
		c.Subject, c.NotAfter = shown.Subject, shown.NotAfter
		if !shown.Verifies {
			c.Problem = shown.Problem
		}
	}
	return c
}

func snapshotOfRelease(s *releaseStatus, stored *release.State) *dashboard.Release {
	to := &dashboard.Release{Phase: s.Phase, DryRun: s.DryRun, Steps: s.Steps, Step: s.Step, Percent: s.Percent, Reason: s.Reason,
		StartedAt: s.StartedAt, StepAt: s.StepAt, Hold: s.Hold, Lasted: s.Lasted, Requests: s.Requests, Needed: s.Needed, Edited: s.Edited,
		Version: releaseVersion(stored)}
	for _, finding := range s.Tests {
		to.Evidence = append(to.Evidence, finding.Text)
	}
	for _, step := range s.Approve {
		if !slices.Contains(s.Approved, step) {
			to.Approve = append(to.Approve, step)
		}
	}
	return to
}
