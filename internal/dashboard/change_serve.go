package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// maxChange is the largest body of a change.
const maxChange = 4 << 10

// serveChange steers a route, if the page has asked for it.
func (s *Server) serveChange(w http.ResponseWriter, r *http.Request) {
	if status, err := s.refuse(r); err != nil {
		failed(w, status, err.Error())
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxChange))
	if _, isTooLarge := errors.AsType[*http.MaxBytesError](err); isTooLarge {
		failed(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the change is larger than %d bytes", maxChange))
		return
	}
	if err != nil {
		failed(w, http.StatusBadRequest, "reading the change: "+err.Error())
		return
	}
	c, err := parseChange(body)
	if err != nil {
		failed(w, http.StatusBadRequest, err.Error())
		return
	}
	s.do(w, r, c)
}

// refuse tells why a request is none of the page. A browser says with each change where it comes from;
// what does not is no browser, and has the admin API.
func (s *Server) refuse(r *http.Request) (int, error) {
	if !s.options.Controls {
		return http.StatusForbidden, errors.New(s.options.ReadOnlyWhy)
	}
	if err := s.crossed.Check(r); err != nil {
		return http.StatusForbidden, errors.New("the request comes from another site, or a proxy in between has changed its Host; changes are only made on this page")
	}
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return http.StatusForbidden, errors.New("the request does not say where it comes from; scripts use the admin API")
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return http.StatusUnsupportedMediaType, errors.New("a change is sent as application/json")
	}
	return 0, nil
}

// do does a change, and answers with how it went.
func (s *Server) do(w http.ResponseWriter, r *http.Request, c *change) {
	by := ""
	if s.options.By != nil {
		by = s.options.By(r)
	}
	asked, err := c.call(by)
	if err != nil {
		failed(w, http.StatusBadRequest, err.Error())
		return
	}
	status, told, err := s.hub.source.Do(r.Context(), asked.method, asked.path, asked.body)
	switch {
	case err != nil:
		failed(w, http.StatusBadGateway, err.Error())
	case status < 200 || status > 599:
		failed(w, http.StatusBadGateway, fmt.Sprintf("the answer has the status %d", status))
	case status >= 300:
		failed(w, status, errorIn(told, status))
	case actions[c.Action].isInformative:
		answerProbe(w, told)
	default:
		s.hub.take(r.Context()) // so that the page shows it at once
		answer(w, http.StatusOK, struct{}{})
	}
}

// errorIn returns the error that an answer tells.
func errorIn(told []byte, status int) string {
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(told, &answer); err != nil || answer.Error == "" {
		return fmt.Sprintf("it was refused with the status %d (%s), and nothing is said about why", status, http.StatusText(status))
	}
	return answer.Error
}

// probed is what a probe has found.
type probed struct {
	Steps []struct {
		Step         string `json:"step"`
		OK           bool   `json:"ok"`
		Detail       string `json:"detail"`
		Milliseconds int64  `json:"ms"`
	} `json:"steps"`
	Works     bool   `json:"works"`
	Verdict   string `json:"verdict"`
	Caddyfile string `json:"caddyfile"`
}

// answerProbe answers with the lines that the page shows of a probe.
func answerProbe(w http.ResponseWriter, told []byte) {
	var p probed
	if err := json.Unmarshal(told, &p); err != nil {
		failed(w, http.StatusBadGateway, "the answer of the probe is not understood: "+err.Error())
		return
	}
	answer(w, http.StatusOK, struct {
		Works bool   `json:"works"`
		Text  string `json:"text"`
	}{p.Works, p.text()})
}

// text is what was found, a step a line, then the verdict and the line to write.
func (p *probed) text() string {
	var b strings.Builder
	for _, step := range p.Steps[:min(len(p.Steps), 50)] {
		mark := "ok    "
		if !step.OK {
			mark = "failed"
		}
		fmt.Fprintf(&b, "%s  %-12s %5d ms  %s\n", mark, short(step.Step), step.Milliseconds, long(step.Detail))
	}
	fmt.Fprintf(&b, "\n%s\n", long(p.Verdict))
	if p.Caddyfile != "" {
		fmt.Fprintf(&b, "\nin the Caddyfile:\n")
		for line := range strings.Lines(p.Caddyfile) {
			b.WriteString("    " + long(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    ")) + "\n")
		}
	}
	return b.String()
}
