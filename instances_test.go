package proxyos

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestRecordsOfInstancesThatAreLongGoneGo(t *testing.T) {
	storage := &memoryStorage{values: make(map[string][]byte)}
	s := newSteering(new(registry), storage, time.Second, zap.NewNop())
	now := time.Now()
	for id, ago := range map[string]time.Duration{"old": 25 * time.Hour, "silent": 4 * time.Minute, "new": time.Second} {
		raw, err := json.Marshal(instanceRecord{ID: id, Name: "host", Heard: now.Add(-ago)})
		if err != nil {
			t.Fatal(err)
		}
		storage.put(instancesFolder+"/"+id, raw)
	}
	storage.put(instancesFolder+"/garbage", []byte("x"))
	s.purge(t.Context(), now)
	records, err := s.instances(t.Context())
	if err != nil || len(records) != 2 || records[0].ID != "new" || records[0].silent(now) || records[1].ID != "silent" || !records[1].silent(now) {
		t.Errorf("left are %+v, %v", records, err)
	}
}

func TestAClusterIsListedWithMarks(t *testing.T) {
	now := time.Now()
	record := func(id string, share float64, ago time.Duration) instanceRecord {
		return instanceRecord{ID: id, Name: strings.Repeat("host", 20), Heard: now.Add(-ago),
			Configured: map[string]float64{"app": 0}, Shares: map[string]float64{"app": share}}
	}
	var out strings.Builder
	err := printer{out: &out}.cluster([]routeStatus{{Name: "app", TrafficSplit: 100}},
		[]instanceRecord{record("a", 100, time.Second), record("b", 40, time.Second), record("c", 100, 4*time.Minute)}, now)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || strings.Contains(lines[1], "differs") || !strings.Contains(lines[2], "differs") || !strings.Contains(lines[3], "silent") {
		t.Errorf("printed is\n%s", &out)
	}
	for _, line := range lines {
		if len([]rune(line)) > lineWidth {
			t.Errorf("a line has %d columns: %s", len([]rune(line)), line)
		}
	}
}

func TestWhichInstancesAreLate(t *testing.T) {
	now := time.Now()
	record := func(id string, share float64, heard time.Time) instanceRecord {
		return instanceRecord{ID: id, Name: "host", Heard: heard, Shares: map[string]float64{"app": share}}
	}
	for name, test := range map[string]struct {
		record     instanceRecord
		late       string // what is said of it
		worthwhile bool
	}{
		"has the share":                 {record("a", 100, now), "", false},
		"has it, and is silent":         {record("a", 100, now.Add(-time.Hour)), "", false},
		"has another":                   {record("a", 40, now), "instance host (a) has 40 %", true},
		"has another, and is silent":    {record("a", 40, now.Add(-time.Hour)), "delete proxyos/instances/a in the storage", false},
		"has another, and a wrong time": {record("a", 40, now.Add(time.Hour)), "is silent since", false},
		"does not have the route":       {instanceRecord{ID: "a", Heard: now}, "", false},
		"cannot be read":                {instanceRecord{ID: "a"}, "what instance a wrote of itself cannot be read", true},
	} {
		late, worthwhile := lateInstances([]instanceRecord{test.record}, "app", 100, now)
		if worthwhile != test.worthwhile || (test.late == "") != (len(late) == 0) || !strings.Contains(strings.Join(late, ""), test.late) {
			t.Errorf("%s: %q, worth waiting for: %v", name, late, worthwhile)
		}
	}
}
