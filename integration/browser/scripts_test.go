//go:build browser

package browser

import _ "embed"

// What is asked of pages.
var (
	//go:embed testdata/overflow.js
	overflow string
	//go:embed testdata/contrast.js
	contrast string
	//go:embed testdata/structure.js
	structure string
	//go:embed testdata/focused.js
	focused string
	//go:embed testdata/focusable.js
	focusable string
)
