//go:build browser

package browser

import "testing"

// release is a release that goes on as fast as one can, and waits twice for an approval.
const release = "release {\nsteps 20 50 100\nhold 1s\nmin_requests 20\napprove 50 100\nerrors 3x\nmax_errors 20%\nslower off\n}"

func TestAReleaseIsStartedApprovedPausedResumedAndAborted(t *testing.T) {
	t.Parallel()
	prod, stag := pair(t)
	c := serve(t, directive(prod.Addr, "name app", "staging "+stag.Addr, "traffic_split 0", release))
	traffic(t, c, 100)
	b := newTab(t, c.Addr)
	b.openLive(routePath)
	b.waitText("#release", "not started")
	b.press("Start")
	b.waitText("#release", "running")
	b.waitShare("20 %")
	b.waitText(".lines", "staging")
	b.wait("it waits for the approval", find+`("Approve 50 %") !== null`)
	b.shoot("release")
	b.press("Approve 50 %")
	b.waitShare("50 %")

	// the release may go on between the look at it and a change of it, which is then refused
	b.expect("409 (Conflict)")
	insist := func(name, condition string) {
		t.Helper()
		isDone := "(" + condition + ")"
		isRefused := `[...document.querySelectorAll(".answer")].some(e => e.checkVisibility() && e.innerText.includes("it has changed since you looked"))`
		const version = `document.querySelector("[data-cell='release.version']").getAttribute("value")`
		for range 3 {
			seen := get[string](b, version)
			b.press(name)
			b.wait(name+" is answered", isDone+" || "+isRefused)
			if get[bool](b, isDone) {
				return
			}
			b.wait("the page shows how it has changed", version+" !== "+quoted(seen))
		}
		t.Fatalf("%s is refused again and again", name)
	}
	insist("Pause", `document.getElementById("release").innerText.includes("paused")`)
	insist("Resume", `document.getElementById("release").innerText.includes("running")`)
	insist("Abort", `document.querySelector("#share strong").innerText === "0 %"`)
	b.wait("it has ended", `!/running|paused/.test(document.getElementById("release").innerText)`)
	wantStaging(t, c, 0)
	b.wait("it can be started again", find+`("Start") !== null`)
	b.waitText("table.changes", "release")
}
