// The least that a Worker can do: hand on the request, hand back the answer.
export default {
  fetch(request, env) {
    return env.GOOGLE.fetch(request);
  },
};
