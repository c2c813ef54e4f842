package proxyos

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// What a newer program has written stays in the document.
func TestWhatIsNotKnownOfAnUpstreamIsKept(t *testing.T) {
	for _, text := range []string{
		`{"against": "x", "set_at": "2026-11-27T00:00:00Z", "state": "maintenance", "color": "green"}`,
		`{"against": "x", "set_at": "2026-11-27T00:00:00Z", "state": "drain", "weight": 3, "set_by": "a", "rolled": {"id": "2026-11-27T00:00:00Z"}}`,
	} {
		var o upstreamOverride
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(&o)
		if err != nil || proxytest.Canonical(t, string(encoded)) != proxytest.Canonical(t, text) {
			t.Errorf("%s becomes %s, %v", text, encoded, err)
		}
	}
	var o upstreamOverride
	if err := json.Unmarshal([]byte(`{"weight": 1001}`), &o); err == nil {
		t.Error("a weight of 1001 is taken")
	}
}

func TestForWhomAnUpstreamOverrideHolds(t *testing.T) {
	three := 3
	state := stateDrain
	var none *upstreamOverride
	drained := none.replacedBy(upstreamChange{State: &state, By: "a"}, "here", "production http weight 1", false)
	if !drained.holds("here", "production http weight 1") || !drained.holds("there", "production http weight 1") || drained.holds("there", "production http weight 2") {
		t.Error("it does not hold exactly for those with its configuration")
	}
	if !drained.isEdited("there", "production http weight 2") || drained.isEdited("there", "production http weight 1") {
		t.Error("an instance with another configuration is not yet to be marked")
	}
	rolled := drained.withRolled("there", time.Now())
	if rolled.holds("there", "production http weight 1") || rolled.isEdited("there", "production http weight 2") || !rolled.holds("here", "production http weight 1") {
		t.Error("an instance that is marked does not go by its configuration for good")
	}
	if !rolled.isSame(drained) {
		t.Error("a mark makes it another override")
	}
	weighed := rolled.replacedBy(upstreamChange{Weight: &three, By: "b"}, "here", "production http weight 1", false)
	if !weighed.Drained || *weighed.Weight != 3 || !weighed.holds("there", "production http weight 1") || weighed.isSame(drained) {
		t.Errorf("a change of it is %+v", weighed)
	}
	ready := stateReady
	if left := weighed.replacedBy(upstreamChange{State: &ready, Weight: &three}, "here", "production http weight 1", true); left != nil {
		t.Errorf("with everything taken back, %+v is left", left)
	}
	for range 2 * maxKnown {
		drained = drained.withRolled(time.Now().String(), time.Now())
	}
	if len(drained.Rolled) > maxKnown {
		t.Errorf("%d marks are kept", len(drained.Rolled))
	}
}
