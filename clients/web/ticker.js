// A worker that keeps time: timers of a page in the background are slowed to one a second.

let timer = 0;

self.onmessage = ({ data: everyMs }) => {
  clearInterval(timer);
  if (everyMs > 0) timer = setInterval(() => self.postMessage(0), everyMs);
};
