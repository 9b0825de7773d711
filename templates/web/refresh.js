(() => {
  const live = document.getElementById("live");
  const showState = (text, isLost) => {
    live.lastChild.textContent = text;
    live.classList.toggle("lost", isLost);
  };
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch(location.pathname, { headers: { accept: "text/html" }, cache: "no-store" });
      const page = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("page");
      if (!page) throw new Error("no page");
      document.getElementById("page").replaceWith(page);
      showState("live", false);
    } catch {
      showState("no connection, retrying", true);
    }
  };
  setInterval(refresh, 5000);
  document.addEventListener("visibilitychange", refresh);
})();
