// Reads the Gemini requests that arrived upstream.

/** For each content of the model that calls functions, its parts with calls. */
export const callsOf = ({ contents }) =>
  contents
    .filter(({ role }) => role === 'model')
    .map(({ parts }) => parts.filter(({ functionCall }) => functionCall))
    .filter(({ length }) => length > 0);

/** For each content that answers calls, its parts with results. */
export const resultsOf = ({ contents }) =>
  contents
    .filter(({ role }) => role === 'user')
    .map(({ parts }) => parts.filter(({ functionResponse }) => functionResponse))
    .filter(({ length }) => length > 0);

/** The names of the declared functions. */
export const declared = ({ tools = [] }) =>
  tools.flatMap(({ functionDeclarations = [] }) => functionDeclarations.map(({ name }) => name));

/** All text that the client and its user wrote. */
export const textOf = ({ contents, systemInstruction }) =>
  [systemInstruction, ...contents]
    .flatMap((content) => content?.parts ?? [])
    .map(({ text }) => text ?? '')
    .join('\n');
