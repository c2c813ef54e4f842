'use strict';
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const element = id => document.getElementById(id);
  const structure = document.body.dataset.structure;
  const classes = new Set(['plain', 'good', 'warn', 'bad', 'off']);
  const attributes = new Set(['value', 'points']);

  // a browser that keeps nothing for sites throws when it is asked to
  let memory;
  try {
    memory = sessionStorage;
  } catch {
    const kept = new Map();
    memory = {getItem: key => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value)};
  }

  // ---- what is shown ----

  const cells = new Map(); // by name, the elements that show it
  for (const e of all('[data-cell]')) {
    const name = e.dataset.cell;
    cells.set(name, [...(cells.get(name) || []), e]);
  }

  function put(e, value) {
    const as = e.dataset.as;
    if (as === undefined) {
      if (e.textContent !== value) e.textContent = value;
    } else if (as === 'hidden') {
      e.hidden = value !== '';
    } else if (as === 'class') {
      if (classes.has(value)) e.className = value;
    } else if (attributes.has(as)) {
      e.setAttribute(as, value); // a field that somebody is editing keeps what was written
    }
  }

  const valueOf = name => cells.get(name)?.[0].getAttribute('value') ?? '';

  let seenAt = Date.now(); // when there was the last news

  function take(text) {
    const news = JSON.parse(text);
    seenAt = Date.now();
    for (const [name, value] of Object.entries(news.structure === structure ? news.cells : {})) {
      for (const e of cells.get(name) || []) put(e, value);
    }
    if (news.structure !== structure) loadAgain();
    // what a failure has left on the page is old
    if (!document.querySelector('[data-cell="alarm.hidden"]').hidden) say('not up to date', false);
    showUndo();
  }

  let busy = 0; // changes that are not answered yet

  const isEdited = () => busy > 0 || all('form[data-edited], .probe:not([hidden])').length > 0 ||
    Boolean(document.activeElement?.matches('form input'));

  function loadAgain() {
    if (isEdited()) {
      element('stale').hidden = false;
      return;
    }
    // two servers that take turns must not have it reload without end
    if (Date.now() - Number(memory.getItem('reloaded')) < 3000) return;
    memory.setItem('reloaded', Date.now());
    location.reload();
  }

  // ---- how it stays live ----

  let source, failures = 0, isPolling = false, triedAt = 0;

  function say(text, isGood) {
    const status = element('status');
    status.className = isGood ? 'good' : 'bad';
    if (status.textContent !== text) status.textContent = text;
  }

  function listen() {
    source?.close();
    triedAt = Date.now();
    source = new EventSource('events' + location.search);
    source.onmessage = event => {
      failures = 0;
      isPolling = false;
      say('live', true);
      take(event.data);
    };
    source.onerror = () => {
      if (++failures >= 2 || source.readyState === EventSource.CLOSED) isPolling = true;
    };
  }

  async function poll() {
    try {
      const answer = await fetch('data' + location.search, {signal: AbortSignal.timeout(5000)});
      if (!answer.ok) throw new Error(answer.statusText);
      take(await answer.text());
      if (isPolling) say('polling', true);
    } catch {
      if (isPolling) say(`not connected – last seen ${Math.round((Date.now() - seenAt) / 1000)} s ago`, false);
    }
  }

  let isAsking = false;

  async function watch() {
    if (document.hidden) return;
    if (Date.now() - Math.max(seenAt, triedAt) > 5000) isPolling = true;
    if (!isPolling || isAsking) return;
    if (Date.now() - triedAt > 10000) listen();
    isAsking = true;
    await poll();
    isAsking = false;
  }

  // A browser has six connections to a site without HTTP/2, and a page in the background needs none.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      source?.close();
    } else {
      listen();
    }
  });
  addEventListener('pagehide', () => source?.close());
  addEventListener('pageshow', event => { if (event.persisted) listen(); });
  setInterval(watch, 2000);
  listen();

  element('reload').addEventListener('click', () => location.reload());

  // ---- steering ----

  const route = element('route')?.dataset.route;
  const undo = element('undo');
  const undoKey = 'undo ' + route;

  // Only one's own change can be undone, and only while nobody else has made another one.
  function showUndo() {
    const [share, version] = (memory.getItem(undoKey) ?? '').split('\n');
    if (undo) {
      undo.hidden = version === undefined || version !== valueOf('share.version');
      undo.dataset.percent = share;
      undo.textContent = `Undo (${share} %)`;
    }
  }

  function tell(panel, text, isGood, button) {
    const answer = panel.querySelector('.answer');
    answer.textContent = text;
    answer.classList.toggle('done', Boolean(isGood));
    answer.hidden = text === '';
    if (button) answer.append(' ', button);
  }

  function insist(panel, form, change) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = 'Do it all the same';
    button.addEventListener('click', () => send(panel, form, {...change, force: true}));
    return button;
  }

  function settle(form) {
    if (!form) return;
    form.reset();
    delete form.dataset.edited;
    delete form.dataset.seen;
  }

  async function send(panel, form, change) {
    const share = valueOf('share.value');
    busy++;
    panel.setAttribute('aria-busy', 'true');
    tell(panel, change.action === 'probe' ? 'Probing …' : '', true);
    try {
      const answer = await fetch('change', {
        method: 'POST',
        headers: {'Content-Type': 'application/json'},
        body: JSON.stringify({...change, isUndo: undefined}),
      });
      const told = await answer.json();
      if (!answer.ok) {
        refused(panel, form, change, answer.status, told.error);
      } else if (change.action === 'probe') {
        showProbe(panel, told);
      } else {
        tell(panel, 'Done.', true);
        settle(form);
        await poll(); // for the version that the change has made
        const isUndoable = (change.action === 'split' || change.action === 'reset') && !change.isUndo;
        memory.setItem(undoKey, isUndoable ? `${share}\n${valueOf('share.version')}` : '');
        showUndo();
      }
    } catch {
      tell(panel, 'It is not known whether this was done: there was no answer. Look before you do it again.');
    }
    busy--;
    panel.removeAttribute('aria-busy');
    await poll();
  }

  function refused(panel, form, change, status, error) {
    const canInsist = status === 409 && /force/.test(error) && !change.force;
    const text = error.replace(/; send "force": true.*$/, '');
    tell(panel, 'Not done: ' + text, false, canInsist && insist(panel, form, change));
    if (form) delete form.dataset.seen; // what it has become is on the page now
  }

  function showProbe(panel, told) {
    tell(panel, told.works ? 'The probe works.' : 'The probe has failed.', told.works);
    const lines = panel.querySelector('.probe');
    lines.textContent = told.text;
    lines.hidden = false;
  }

  function changeOf(control) {
    const change = {action: control.dataset.action, route};
    const {version, percent} = control.dataset;
    if (version) change.seen = control.dataset.seen ?? valueOf(version);
    if (percent) change.percent = Number(percent);
    const upstream = control.closest('[data-upstream]');
    if (upstream) change.upstream = upstream.dataset.upstream;
    return change;
  }

  document.addEventListener('input', event => {
    const form = event.target.closest('form');
    if (!form) return;
    form.dataset.seen ??= valueOf(form.dataset.version); // what one saw when one began
    form.dataset.edited = '';
    tell(form.closest('[data-panel]'), ''); // what was said about another value
    for (const other of all('input', form)) {
      if (other !== event.target) other.value = event.target.value;
    }
  });

  document.addEventListener('submit', event => {
    event.preventDefault();
    const form = event.target, change = changeOf(form);
    for (const field of all('input[name]', form)) change[field.name] = field.valueAsNumber;
    send(form.closest('[data-panel]'), form, change);
  });

  document.addEventListener('keydown', event => {
    const form = event.target.closest('form');
    if (event.key === 'Escape' && form) settle(form);
  });

  document.addEventListener('click', event => {
    const button = event.target.closest('button');
    if (!button) return;
    if (button.matches('[data-copy]')) copy(button);
    if (button.matches('[data-action]')) send(button.closest('[data-panel]'), null, changeOf(button));
    if (button === undo) {
      const form = undo.closest('form');
      settle(form);
      send(form.closest('[data-panel]'), form, {...changeOf(form), percent: Number(undo.dataset.percent), isUndo: true});
    }
  });

  async function copy(button) {
    const code = button.parentElement.querySelector('code');
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = 'Copied';
      setTimeout(() => { button.textContent = 'Copy'; }, 2000);
    } catch { // only pages that came by HTTPS have a clipboard
      getSelection().selectAllChildren(code);
    }
  }

  for (const e of all('[data-js]')) e.hidden = false;
  showUndo();
})();
