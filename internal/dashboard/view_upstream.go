package dashboard

import (
	"strconv"
	"strings"
	"time"
)

// upstreamView is an upstream of a group.
type upstreamView struct {
	Address, Dial, Speaks string
	HasCertificate        bool
	Steers, Weighable     bool // it has controls; one of them is its weight

	Certificate, CertificateClass         cell
	Weight, WeightConfigured, WeightValue cell
	State, StateClass                     cell
	Health, HealthClass, Since            cell
	InFlight, Requests, Errors            cell
	Trouble                               cell // hides the next three together
	Problem, Hint, Fix, FixHidden         cell
	CanDrain, CanReady, IsSet, Version    cell
}

func (b *builder) upstream(p string, u *Upstream, steers bool) upstreamView {
	v := upstreamView{Address: b.fix(short(u.Address)), Dial: b.fix(u.Dial), Speaks: b.fix(short(u.Speaks)),
		HasCertificate: b.fixIf(u.Certificate != nil), Weighable: b.fixIf(u.Weighable)}
	v.Steers = b.fixIf(steers && !u.Repeated)
	if c := u.Certificate; c != nil {
		text, class := certificateText(c, b.now)
		v.Certificate, v.CertificateClass = b.cell(p, "certificate", text), b.cell(p, "certificate.class", class)
	}
	configured := ""
	if u.Weight != u.Configured {
		configured = "configured: " + strconv.Itoa(u.Configured)
	}
	v.Weight, v.WeightConfigured = b.cell(p, "weight", strconv.Itoa(u.Weight)), b.cell(p, "weight.configured", configured)
	state, class := stateText(u, b.now)
	v.State, v.StateClass = b.cell(p, "state", state), b.cell(p, "state.class", class)
	b.health(p, &v, u)
	v.InFlight = b.cell(p, "in_flight", countText(uint64(max(u.InFlight, 0))))
	v.Requests = b.cell(p, "requests", countText(u.Requests))
	v.Errors = b.cell(p, "errors", countText(u.Errors))
	if v.Steers {
		v.WeightValue = b.cell(p, "weight.value", strconv.Itoa(u.Weight))
		v.CanDrain, v.CanReady = b.hidden(p, "drain", !u.Drained), b.hidden(p, "ready", u.Drained)
		v.IsSet = b.hidden(p, "reset", !u.SetAt.IsZero())
		v.Version = b.cell(p, "version", u.Version)
	}
	return v
}

// health tells how an upstream is, since when and why.
func (b *builder) health(p string, v *upstreamView, u *Upstream) {
	class, since := warn, ""
	switch u.Health {
	case "up":
		class = good
	case "down", "ejected":
		class = bad
	}
	if !u.Since.IsZero() {
		since = "since " + clockText(u.Since, b.now) + ", for " + agoText(b.now.Sub(u.Since))
	}
	v.Health, v.HealthClass = b.cell(p, "health", short(u.Health)), b.cell(p, "health.class", class)
	v.Since = b.cell(p, "since", since)
	v.Trouble = b.hidden(p, "trouble", u.Problem != "" || u.Hint != "" || u.Fix != "")
	v.Problem, v.Hint = b.cell(p, "problem", long(u.Problem)), b.cell(p, "hint", long(u.Hint))
	v.Fix, v.FixHidden = b.cell(p, "fix", long(u.Fix)), b.hidden(p, "fix.hidden", u.Fix != "")
}

// stateText tells whether an upstream gets requests, and who has decided otherwise.
func stateText(u *Upstream, now time.Time) (text, class string) {
	class = plain
	var parts []string
	switch {
	case u.Drained:
		parts, class = append(parts, "drained"), off
	case u.Backup:
		parts = append(parts, "backup")
	default:
		parts = append(parts, "ready")
	}
	if u.Repeated {
		parts = append(parts, "listed again")
	}
	if u.WarmUp > 0 && u.WarmUp < 1 {
		parts = append(parts, strconv.Itoa(int(100*u.WarmUp))+" % warm")
	}
	if !u.SetAt.IsZero() {
		parts = append(parts, "set "+clockText(u.SetAt, now)+" by "+short(orNone(u.SetBy)))
	}
	return strings.Join(parts, ", "), class
}

// soon is how long before the end of a certificate somebody should look at it.
const soon = 14 * 24 * time.Hour

// certificateText tells what is known of a certificate.
func certificateText(c *Certificate, now time.Time) (text, class string) {
	class = plain
	parts := []string{short(c.State)}
	if c.Subject != "" {
		parts = append(parts, short(c.Subject))
	}
	if !c.NotAfter.IsZero() {
		left := c.NotAfter.Sub(now)
		if left < soon {
			class = warn
		}
		switch days := int(left / (24 * time.Hour)); {
		case left <= 0:
			parts, class = append(parts, "expired for "+agoText(-left)), bad
		case days == 1:
			parts = append(parts, "1 day left")
		case days == 0:
			parts = append(parts, agoText(left)+" left")
		default:
			parts = append(parts, strconv.Itoa(days)+" days left")
		}
	}
	if c.State == "changed" {
		class = bad
	}
	if c.Problem != "" {
		parts = append(parts, long(c.Problem))
		if class == plain {
			class = warn
		}
	}
	return strings.Join(parts, " · "), class
}
