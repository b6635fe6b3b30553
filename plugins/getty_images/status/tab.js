// Airflow gives plugins a React component's place in its UI: a page of the navigation, and a tab of each DAG.
// Its own frames for external views forbid links to leave them; in this one a link to a run works.
const { createElement, useEffect, useState } = globalThis.React;

const colours = () => (document.documentElement.classList.contains("dark") ? "dark" : "light");

function useColours() {
  const [current, setCurrent] = useState(colours);
  useEffect(() => {
    const watch = new MutationObserver(() => setCurrent(colours()));
    watch.observe(document.documentElement, { attributeFilter: ["class"] });
    return () => watch.disconnect();
  }, []);
  return current;
}

globalThis["%NAME%"] = function AssetChanges({ dagId }) {
  const path = dagId ? `channels/${encodeURIComponent(dagId)}` : "./";
  const address = new URL(path, import.meta.url);
  address.searchParams.set("theme", useColours());
  return createElement("iframe", {
    src: address.href,
    title: "%NAME%",
    style: { border: 0, display: "block", height: "100%", minHeight: "60vh", width: "100%" },
  });
};
