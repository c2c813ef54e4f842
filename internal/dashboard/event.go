package dashboard

import "encoding/json"

// changedEvent is the event that has the cells which have changed, if the page is still of
// the same structure. If it is not, it must be loaded again anyway.
func changedEvent(before, now told) []byte {
	if before.Structure != now.Structure {
		return event(now.Structure, nil)
	}
	var changed []cell
	for i, c := range now.Cells {
		if before.Cells[i].Value != c.Value {
			changed = append(changed, c)
		}
	}
	return event(now.Structure, changed)
}

// event encodes cells as an event of a stream.
//
//	data: {"structure":"…","cells":{"r0.rate":"12.3"}}
func event(structure string, cells []cell) []byte {
	b := append([]byte(nil), eventBegin...)
	b = append(b, `{"structure":`...)
	b = appendText(b, structure)
	b = append(b, `,"cells":{`...)
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, c.Name)
		b = append(b, ':')
		b = appendText(b, c.Value)
	}
	b = append(b, "}}"...)
	return append(b, eventEnd...)
}

const eventBegin, eventEnd = "data: ", "\n\n"

// dataOfEvent returns what is between the two.
func dataOfEvent(event []byte) []byte { return event[len(eventBegin) : len(event)-len(eventEnd)] }

func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(text) // no string fails
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}
