package release

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
)

func TestWorseIsFoundSoon(t *testing.T) {
	n := runs(t, 2000, 400)
	for _, c := range []struct {
		worse float64
		want  int64 // staging requests, the median
	}{{10, 100}, {5, 300}, {3, 900}} {
		t.Run(fmt.Sprintf("%vx", c.worse), func(t *testing.T) {
			var found []int64
			for i := range n {
				found = append(found, untilFound(only(1), newTraffic(seeded(i), 0.1, 0.01*c.worse, 0.01), 100_000))
			}
			slices.Sort(found)
			t.Logf("median %d, 90 %% %d", found[n/2], found[n*9/10])
			if found[n/2] > c.want {
				t.Errorf("found after %d requests of staging, want %d at most", found[n/2], c.want)
			}
		})
	}
}

// With a share that is measured, it takes hardly longer than with an exact one.
func TestWorseIsFoundSoonWithAMeasuredShare(t *testing.T) {
	n, p := runs(t, 1000, 200), only(1)
	var found []int64
	for i := range n {
		random, tally := seeded(i), Tally{}
		for tally.Groups().Staging.Requests < 10_000 {
			var since Groups
			group, fails := &since.Production, 0.01
			if random.IntN(10) == 0 {
				group, fails = &since.Staging, 0.1
			}
			*group = Counts{Requests: 1, Failed: binomial(random, 1, fails)}
			if tally.Tick(since, false); newEvidence(1).after(&p, tally.Groups(), 0).Errors.log() >= alarm(p.Confidence) {
				break
			}
		}
		found = append(found, tally.Groups().Staging.Requests)
	}
	slices.Sort(found)
	t.Logf("median %d, 90 %% %d", found[n/2], found[n*9/10])
	if found[n/2] > 65 {
		t.Errorf("found after %d requests of staging, want 65 at most", found[n/2])
	}
}

const foundTable = "testdata/found.txt"

// The table is for the documents. UPDATE=1 writes it anew.
func TestTheTableOfWhatIsFoundWhen(t *testing.T) {
	const n, limit = 200, 100_000
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "production fails\tshare\tstaging fails\tmedian\t90 %")
	for _, base := range []float64{0, 0.001, 0.01} {
		for _, share := range []float64{0.01, 0.1, 0.5} {
			for _, fails := range []float64{0.003, 0.01, 0.03, 0.1, 0.3, 1} {
				if fails < 2*base {
					continue
				}
				var found []int64
				for i := range n {
					found = append(found, untilFound(DefaultPlan(), newTraffic(seeded(i), share, fails, base), limit))
				}
				slices.Sort(found)
				say := func(requests int64) string {
					if requests >= limit {
						return "over " + commas(limit)
					}
					return commas(requests)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", percent(100*base), percent(100*share), percent(100*fails), say(found[n/2]), say(found[n*9/10]))
			}
		}
	}
	w.Flush()
	t.Logf("requests of staging until the default plan finds it:\n%s", text.Bytes())
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(foundTable, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(foundTable)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text.Bytes(), want) {
		t.Errorf("%s is no longer true; UPDATE=1 writes it anew", foundTable)
	}
}
