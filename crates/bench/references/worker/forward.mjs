// The least that a Worker can do: forward the request, and return the answer.
export default {
  fetch(request, env) {
    return env.GOOGLE.fetch(request);
  },
};
